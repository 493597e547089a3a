"""Built engines on disk. Kinds: round trip, every byte of a file changed once, behaviour on bad input."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from fmgs_core.priors.engines.engine_file import EngineKey, engine_path, read_engine, write_engine

KEY = EngineKey("ab" * 32, "10.9.0", "NVIDIA RTX 4090", "8.9", "bfloat16", "pixels (* 3 8 6)")
PAYLOAD = bytes(range(64))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = engine_path(tmp_path / "a.onnx", KEY)
    write_engine(path, KEY, PAYLOAD, "mean_deg 0.5")
    return path


def test_what_was_written_is_read(file: Path):
    assert read_engine(file, KEY) == (PAYLOAD, "mean_deg 0.5")
    assert file.name == f"a.onnx.{KEY.digest()}.engine" and len(list(file.parent.iterdir())) == 1


def test_no_byte_can_be_changed(file: Path):
    content = file.read_bytes()
    for k in range(len(content)):
        file.write_bytes(content[:k] + bytes([content[k] ^ 1]) + content[k + 1 :])
        with pytest.raises(ValueError, match=r"\.engine is not used: .* Delete .* `fmgs models build`"):
            read_engine(file, KEY)


def test_no_part_is_taken_for_the_whole(file: Path):
    content = file.read_bytes()
    for end in range(len(content)):
        file.write_bytes(content[:end])
        with pytest.raises(ValueError, match="is not used"):
            read_engine(file, KEY)
    file.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="expected 64 bytes of engine, got 65"):
        read_engine(file, KEY)


@pytest.mark.parametrize("name", [f.name for f in fields(EngineKey)])
def test_each_part_of_the_key_counts(file: Path, name: str):
    other = replace(KEY, **{name: "other"})
    assert engine_path(file, other) != engine_path(file, KEY)
    with pytest.raises(ValueError, match=f"built for something else: {name} .* for 'other'"):
        read_engine(file, other)
