"""Session events on a terminal: one live line, and a sentence for what a person should know."""

import time

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from fmgs_core.session.events import (
    Event,
    Finished,
    MapsChecked,
    Preparing,
    Progress,
    SourceOpened,
    StatusChanged,
    SwitchedOn,
    Warned,
)
from fmgs_core.tracking.tracker import TrackingStatus

PLAIN_EVERY_S = 5.0  # without a terminal a line is written this often, so that logs stay readable

_STATUS_WORDS = {
    TrackingStatus.SEARCHING: "looking for a person",
    TrackingStatus.TRACKING: "following the person",
    TrackingStatus.LOST: "person lost; what was learned is kept, still looking",
}


class Display:
    """Context manager; call it with every event."""

    def __init__(self, console: Console):
        self._console = console
        self._live = Status("starting", console=console)
        self._last_plain_s = float("-inf")

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case Preparing():
                self._show(event.what)
            case SourceOpened():
                self._say(_source_sentence(event))
            case StatusChanged():
                self._say(f"{event.stamp_ns * 1e-9:.2f} s: {_STATUS_WORDS[event.after]}")
            case SwitchedOn():
                self._say(f"{event.elapsed_s:5.1f} s: {event.what} on ({escape(event.why)})")
            case MapsChecked():
                self._say(escape(str(event)))
            case Warned():
                self._say(f"[yellow]warning:[/] {escape(event.message)}")
            case Finished():
                self._say(f"finished: {escape(event.reason)}")
            case Progress():
                self._show(_progress_line(event))

    def writing(self, what: str, done: int, total: int) -> None:
        """Progress of result files."""
        self._show(f"writing {what}: {done}/{total} pictures")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def _show(self, line: str) -> None:
        if self._console.is_terminal:
            self._live.update(line)
        elif time.monotonic() - self._last_plain_s >= PLAIN_EVERY_S:
            self._last_plain_s = time.monotonic()
            self._say(line)


def _source_sentence(event: SourceOpened) -> str:
    length = "a live stream" if event.length is None else f"{event.length} frames"
    rate = "" if event.fps is None else f" at {event.fps:.3g} fps"
    focal = f"focal length {event.focal_px:.1f} px"
    if event.focal_is_estimated:
        focal += (
            " [yellow]is a guess[/] (1.2 x the longer side; distances scale with it;"
            " give --config.source.focal-px or a camera_info)"
        )
    return f"{escape(event.name)}: {event.width} x {event.height}, {length}{rate}, {focal}"


def _progress_line(event: Progress) -> str:
    psnr = "" if event.psnr_db is None else f", held-back PSNR {event.psnr_db:.1f} dB"
    return (
        f"{event.elapsed_s:5.1f} s: {event.frames} frames ({event.frames_per_s:.1f}/s, {event.frames_dropped} dropped), "
        f"{event.keyframes} keyframes, {event.yaw_deg:.0f}° of yaw, "
        f"{event.iterations} iterations ({event.iterations_per_s:.1f}/s), loss {event.loss:.4f}{psnr}"
    )
