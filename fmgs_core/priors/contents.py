"""Whether a model's files are the ones they were: hashes, and what is cheaper to look at."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20


def content_sha256(path: Path) -> str:
    """Of a file, or of all files of a folder in the order of their names."""
    digest = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    """Of a folder those that make the model: its settings and weights."""
    if path.is_dir():
        yield from sorted(p for p in path.iterdir() if p.name == "config.json" or p.suffix == ".safetensors")
    else:
        yield path


def size_and_time(path: Path) -> tuple[int, int]:
    """Bytes, and the time of the last change [ns]: when both are as they were, so is the rest, short of malice."""
    states = [file.stat() for file in _files(path)]
    return sum(s.st_size for s in states), max((s.st_mtime_ns for s in states), default=0)
