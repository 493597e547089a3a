"""A finished recording as a frame source: in order, every frame; or paced by its stamps, as if it were live."""

import contextlib
from collections.abc import Callable, Generator
from types import TracebackType

from fmgs_core.stream.intrinsics import shrunk
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig
from fmgs_core.types import Frame

Frames = Generator[Frame, None, None]
"""Frames of a recording; closing the generator frees what it holds open."""

# A recording that fails this often in a row is not a damaged one but one that cannot be read.
_MAX_FAILURES_IN_A_ROW = 10
# A frame counts as due this much early [s], so that rounding of the clock does not cost another sleep.
_DUE_TOLERANCE_S = 1e-6


class ReplaySource:
    """Base of the sources that read recordings. Deterministic: the same file gives the same frames.

    Raises:
        ValueError: there is not a single frame.
    """

    live = False

    def __init__(
        self,
        name: str,
        frames: Frames,
        config: SourceConfig,
        *,
        fps: float | None,
        length: int | None,
        estimated: Callable[[], bool],
        clock: Clock,
    ):
        self.name, self.length, self.dropped = name, length, 0
        self.fps = config.fps_override or fps
        self._frames, self._config, self._clock = frames, config, clock
        self._count, self._first_ns = 0, 0
        self._start_s: float | None = None
        self._next = self._advance()
        if self._next is None:
            raise ValueError(f"{name}: expected at least one readable picture, got none")
        self.camera_is_estimated = estimated()

    @property
    def ended(self) -> bool:
        return self._next is None

    def read(self) -> Frame | None:
        frame = self._next
        if frame is not None:
            self._next = self._advance()
        return frame

    def read_latest(self, max_age_s: float) -> Frame | None:
        if self._start_s is None and self._next is not None:
            self._start_s = self._clock.now_s() - self._time_s(self._next)
        deadline_s = self._clock.now_s() + max_age_s
        while self._next is not None:
            newest = self._newest_due()
            if newest is not None and self._position_s() - self._time_s(newest) <= max_age_s:
                return newest
            self.dropped += newest is not None
            wait_s = self._wait_s(deadline_s)
            if wait_s is None:
                return None
            self._clock.sleep_s(wait_s)
        return None

    def close(self) -> None:
        self._frames.close()
        self._next = None

    def __enter__(self) -> "ReplaySource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _position_s(self) -> float:
        assert self._start_s is not None
        return self._clock.now_s() - self._start_s

    def _time_s(self, frame: Frame) -> float:
        return (frame.stamp_ns - self._first_ns) * 1e-9

    def _newest_due(self) -> Frame | None:
        newest = None
        while self._next is not None and self._time_s(self._next) <= self._position_s() + _DUE_TOLERANCE_S:
            self.dropped += newest is not None
            newest = self.read()
        return newest

    def _wait_s(self, deadline_s: float) -> float | None:
        """Seconds to sleep until the next frame or the deadline, whichever is first; None when nothing is left to wait for."""
        now_s = self._clock.now_s()
        if self._next is None or now_s >= deadline_s:
            return None
        # Never zero: a sleep that rounds down to nothing would spin.
        return max(1e-4, min(self._time_s(self._next) - self._position_s(), deadline_s - now_s))

    def _advance(self) -> Frame | None:
        frame = next(self._frames, None)
        if frame is None:
            return None
        if self._count == 0:
            self._first_ns = frame.stamp_ns
        frame = shrunk(self._retimed(frame), self._config.max_side_px)
        self._count += 1
        return frame

    def _retimed(self, frame: Frame) -> Frame:
        fps = self._config.fps_override
        if fps is None:
            return frame
        return Frame(self._first_ns + round(self._count * 1e9 / fps), frame.rgb, frame.camera)


class Damage:
    """Counts what of a recording could not be read: each loss is said aloud, and too many in a row end the reading."""

    def __init__(self, name: str, on_warning: OnWarning):
        self._name, self._warn = name, on_warning
        self.count = self._in_a_row = 0

    def good(self) -> None:
        self._in_a_row = 0

    def bad(self, what: str, cause: Exception) -> None:
        """One picture or packet that is left out.

        Raises:
            ValueError: the tenth in a row.
        """
        self.count += 1
        self._in_a_row += 1
        if self._in_a_row >= _MAX_FAILURES_IN_A_ROW:
            raise ValueError(
                f"{self._name}: {self._in_a_row} unreadable parts in a row, the last one {what}: {cause}"
            ) from cause
        self._warn(f"{self._name}: {what} is left out: {cause}")


def in_time_order(frames: Frames, name: str, config: SourceConfig, on_warning: OnWarning) -> Frames:
    """Leaves out frames that are not newer than the one before: a tracker cannot use a step back in time.

    A recording that is re-timed keeps them all, because its own stamps do not count.
    """
    if config.fps_override is not None:
        yield from frames
        return
    last_ns, left_out = None, 0
    with contextlib.closing(frames):
        for frame in frames:
            if last_ns is not None and frame.stamp_ns <= last_ns:
                left_out += 1
                if left_out == 1:
                    on_warning(f"{name}: {frame.stamp_ns} ns after {last_ns} ns; frames that step back in time are left out")
                continue
            last_ns = frame.stamp_ns
            yield frame
    if left_out > 1:
        on_warning(f"{name}: {left_out} frames that stepped back in time were left out")
