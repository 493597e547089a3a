"""A source that others fill: a subscriber's callback, or a reader that must not lose a frame."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from fmgs_core.stream.intrinsics import shrunk
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, log_warning
from fmgs_core.types import Frame

# A picture older than the newest by less than this came late; by more, the stream was started anew (a bag that loops).
# One second is also the tracker's limit for believing in a pose.
_RESTART_NS = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Pending:
    """A picture that is decoded by whoever reads it, so that one that nobody has time for costs nothing."""

    stamp_ns: int
    decode: Callable[[], Frame]
    """Raises ValueError for a picture that cannot be read: that one is left out, counted and warned of."""


class PushedSource:
    """Frames in the order of `push`. Unlike other sources it is open before its first picture.

    Pictures that are not newer than the one before are left out, unless they step back by more than a second: then the
    stream counts as started anew, and a warning says so.

    Args:
        config: of it, max_side_px.
        capacity: pictures that wait for a reader. One more drops the oldest of them, or makes `push(..., wait=True)` wait.
        camera_is_estimated: asked when the session announces its source.
        clock: gives the age of pictures, from their push on.
    """

    live = True
    length = fps = None

    def __init__(
        self,
        name: str,
        config: SourceConfig | None = None,
        *,
        capacity: int = 1,
        camera_is_estimated: Callable[[], bool] = lambda: False,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        if capacity < 1:
            raise ValueError(f"PushedSource.capacity: expected at least 1, got {capacity}")
        self.name, self.dropped = name, 0
        self._config, self._clock, self._warn = config or SourceConfig(), clock or Clock(), on_warning
        self._estimated, self._capacity = camera_is_estimated, capacity
        self._waiting: deque[tuple[float, Frame | Pending]] = deque()
        self._changed = threading.Condition()
        self._over = False
        self._newest_ns: int | None = None

    @property
    def camera_is_estimated(self) -> bool:
        return self._estimated()

    @property
    def ended(self) -> bool:
        with self._changed:
            return self._over and not self._waiting

    def push(self, picture: Frame | Pending, *, wait: bool = False) -> bool:
        """Hands a picture over and returns at once, or with `wait` when there is room. False: it was not taken, because it
        came late or the source has ended."""
        with self._changed:
            if not self._is_next(picture.stamp_ns):
                self.dropped += 1
                return False
            if wait:
                self._changed.wait_for(lambda: self._over or len(self._waiting) < self._capacity)
            if self._over:
                return False
            if len(self._waiting) == self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            self._newest_ns = picture.stamp_ns
            self._waiting.append((self._clock.now_s(), picture))
            self._changed.notify_all()
            return True

    def end(self) -> None:
        """No further picture will come; what waits can still be read."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def read(self) -> Frame | None:
        while (taken := self._take(None)) is not None:
            if (frame := self._decoded(taken[1])) is not None:
                return frame
        return None

    def read_latest(self, max_age_s: float) -> Frame | None:
        deadline_s = self._clock.now_s() + max_age_s
        while (taken := self._take(max(0.0, deadline_s - self._clock.now_s()), newest=True)) is not None:
            if self._clock.now_s() - taken[0] > max_age_s:
                self.dropped += 1
            elif (frame := self._decoded(taken[1])) is not None:
                return frame
        return None

    def close(self) -> None:
        """Also wakes whoever waits in `push` or `read`; what was not read is gone."""
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting.clear()
        self.end()

    def __enter__(self) -> "PushedSource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _is_next(self, stamp_ns: int) -> bool:
        if self._newest_ns is None or stamp_ns > self._newest_ns:
            return True
        step_ns = self._newest_ns - stamp_ns
        if step_ns > _RESTART_NS:
            self._warn(f"{self.name}: stamps step back by {step_ns * 1e-9:.1f} s; the stream counts as started anew")
        return step_ns > _RESTART_NS

    def _take(self, timeout_s: float | None, *, newest: bool = False) -> tuple[float, Frame | Pending] | None:
        """The oldest or the newest that waits, with the time of its push; those before the newest are dropped."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._over, timeout_s)
            while newest and len(self._waiting) > 1:
                self._waiting.popleft()
                self.dropped += 1
            taken = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return taken

    def _decoded(self, picture: Frame | Pending) -> Frame | None:
        try:
            frame = picture.decode() if isinstance(picture, Pending) else picture
        except ValueError as error:
            self.dropped += 1
            self._warn(f"{self.name}: a picture is left out: {error}")
            return None
        return shrunk(frame, self._config.max_side_px)
