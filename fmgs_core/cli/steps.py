"""Progress of long work as one live line; without a terminal, as a line now and then."""

import time

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from fmgs_core.cli.display import PLAIN_EVERY_S


class Steps:
    """Context manager, and an OnProgress."""

    def __init__(self):
        self._console = Console(stderr=True)
        self._live = Status("starting", console=self._console)
        self._last, self._last_plain_s = "", float("-inf")

    def __enter__(self) -> "Steps":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, what: str, share: float) -> None:
        line = f"{escape(what)} ({share:.0%})" if share else escape(what)
        if self._console.is_terminal:
            self._live.update(line)
        elif what != self._last and time.monotonic() - self._last_plain_s >= PLAIN_EVERY_S:
            self._last, self._last_plain_s = what, time.monotonic()
            self._console.print(line, highlight=False, soft_wrap=True)
