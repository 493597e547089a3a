"""Files that appear when complete, and locks between processes. Kind: behaviour."""

import threading

import pytest

from fmgs_core.atomic import alone, replacing


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


def test_one_at_a_time(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        with alone(tmp_path / ".lock"):
            inside += 1
            most = max(most, inside)
            entered.wait(0.02)
            inside -= 1

    entered = threading.Event()
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert (inside, most) == (0, 1)
    with pytest.raises(ValueError, match="existing folder"), alone(tmp_path / "no/.lock"):
        pass
