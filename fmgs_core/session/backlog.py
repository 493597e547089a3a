"""What was observed and not taken in yet: never more than a few frames, because each holds all of its maps."""

import threading
from collections import deque

from fmgs_core.session.observer import Observation

MAX_WAITING = 16
"""Observations; 5 MB each at 512 x 512. Where training steps took half a second, a queue without an end grew by 15 MB/s."""


class Backlog:
    """From the thread that observes to the one that learns. When it is full the oldest observation goes, and is counted: the
    observer never waits, and what is taken in is never older than MAX_WAITING frames."""

    def __init__(self):
        self._waiting: deque[Observation | BaseException | None] = deque()
        self._changed = threading.Condition()
        self.dropped = 0

    def put(self, item: Observation | BaseException | None) -> None:
        """An observation, or what ends them: None, or the error that did."""
        with self._changed:
            if len(self._waiting) == MAX_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append(item)
            self._changed.notify()

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, seconds: float) -> None:
        """Until something is there, but no longer than that."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, seconds)

    def take(self) -> Observation | BaseException | None:
        """The oldest. Only the thread that learns takes.

        Raises:
            IndexError: nothing is there.
        """
        with self._changed:
            return self._waiting.popleft()
