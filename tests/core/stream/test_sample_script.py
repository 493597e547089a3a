"""The script that makes the sample bag. Kinds: determinism, behaviour on a run that fails."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample_bag", REPOSITORY / "scripts/make_sample_bag.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_bytes_every_time(tmp_path, script, shared):
    out = tmp_path / "bag"
    script.write_bag(shared / "gt/dressed_a", "test_pose", out)
    first = content(out)
    script.write_bag(shared / "gt/dressed_a", "test_pose", out)
    assert content(out) == first and set(first) == {"bag.mcap", "metadata.yaml"}
    assert list(tmp_path.iterdir()) == [out]


def test_a_failed_run_leaves_the_old_bag(tmp_path, script, shared, monkeypatch):
    out = tmp_path / "bag"
    out.mkdir()
    (out / "bag.mcap").write_bytes(b"the old one")

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(script, "compressed", broken)
    with pytest.raises(OSError, match="disk full"):
        script.write_bag(shared / "gt/dressed_a", "test_pose", out)
    assert content(out) == {"bag.mcap": b"the old one"} and list(tmp_path.iterdir()) == [out]


def test_the_sample_is_small():
    assert sum(len(data) for data in content(REPOSITORY / "samples/dressed_a").values()) < 3.2e6
