"""Files that appear when complete. Kind: behaviour."""

import pytest

from fmgs_core.atomic import replacing


def test_complete_or_not_at_all(tmp_path):
    path = tmp_path / "a.bin"
    with replacing(path) as part:
        part.write_bytes(b"one")
        assert not path.exists() and part.suffix == ".bin"
    assert path.read_bytes() == b"one"
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_bytes(b"half of tw")
        raise RuntimeError
    assert path.read_bytes() == b"one" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match="expected a file name in an existing folder"), replacing(tmp_path / "no/a.bin"):
        pass
