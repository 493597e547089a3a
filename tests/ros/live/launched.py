"""Launch files of the built package as a process."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import pytest
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from .harness import END_S, started


class Launched:
    """`ros2 launch` and its log; the nodes run in this interpreter."""

    def __init__(self, folder: Path, *words: str):
        self._log = folder / "launch.log"
        self.process = started(["ros2", "launch", "fmgs_ros", *words, f"python:={sys.executable}"], self._log)

    @property
    def said(self) -> str:
        return self._log.read_text()

    @cached_property
    def code(self) -> int:
        """Ends it as two Ctrl-C do; SIGTERM would orphan the nodes."""
        for _ in range(2):
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(2 * END_S)


@contextmanager
def launched(folder: Path, *words: str) -> Iterator[Launched]:
    try:
        get_package_prefix("fmgs_ros")
    except PackageNotFoundError:
        pytest.skip("needs a build of this package (colcon build)")
    found = Launched(folder, *words)
    try:
        yield found
    finally:
        _ = found.code
