"""Files that appear under their name only when they are complete, and work that one process does at a time."""

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def part_path(path: Path) -> Path:
    """Where a file is written until it is complete: beside it, hidden, with the same suffix."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


@contextmanager
def replacing(path: Path) -> Generator[Path, None, None]:
    """A path to write to; it takes the name `path` when the block ends, and is removed when the block fails.

    Raises:
        ValueError: the folder of `path` does not exist.
    """
    check_folder(path)
    part = part_path(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{path}: expected a file name in an existing folder, got folder {path.parent} that does not exist")


@contextmanager
def alone(lock: Path) -> Generator[None, None, None]:
    """Inside, no other holder of the same lock file; they wait for their turn, and a holder that dies gives it up.

    Raises:
        ValueError: the folder of `lock` does not exist.
    """
    check_folder(lock)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
