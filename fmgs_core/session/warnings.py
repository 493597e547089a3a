"""What stages have to say to the user."""

import queue
from collections.abc import Iterator


class Warnings:
    """Each message once. Added from any thread, taken by one."""

    def __init__(self):
        self.all: list[str] = []
        self._unsaid: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._skipped_said = 0

    def add(self, message: str) -> None:
        if message not in self.all:
            self.all.append(message)
            self._unsaid.put(message)

    def skipped_steps(self, skipped: int) -> None:
        """When there is a first one, and when there are ten times as many as last said."""
        if skipped and skipped >= 10 * self._skipped_said:
            self._skipped_said = skipped
            self.add(f"{skipped} training step(s) left out: a gradient was not finite")

    def take(self) -> Iterator[str]:
        """Those that nobody has taken."""
        while not self._unsaid.empty():
            yield self._unsaid.get()
