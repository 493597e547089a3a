"""A device or network stream as a frame source: a thread grabs, the newest picture wins."""

import threading
from collections.abc import Callable, Generator
from types import TracebackType

import numpy as np

from fmgs_core.concurrency import Latest
from fmgs_core.stream.intrinsics import CameraGuess, SizeWatch, shrunk
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, SourceError, log_warning
from fmgs_core.types import Frame

Picture = tuple[int | None, np.ndarray]
"""Stamp [ns] by the device's clock, None when it has none, and RGB pixels."""
Pictures = Generator[Picture, None, None]
"""Pictures of an open device: ends when the stream ends, raises SourceError when it is lost, frees the device when closed."""

# How long closing waits for a grab in progress [s]; V4L2 gives up on a silent device after 10 s by itself.
_JOIN_S = 3.0


class LiveSource:
    """Base of the live sources. `open_pictures` is called once here and again after every loss.

    Raises:
        SourceError: the device does not open or gives no first picture; nothing is left open.
    """

    live = True
    length = None

    def __init__(
        self,
        name: str,
        open_pictures: Callable[[], Pictures],
        config: SourceConfig,
        *,
        fps: float | None = None,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        self.name, self.fps = name, fps
        self._open, self._config, self._warn = open_pictures, config, on_warning
        self._clock, self._guess = clock or Clock(), CameraGuess(config.focal_px)
        self._latest: Latest[tuple[float, Frame]] = Latest()
        self._stop, self._exhausted = threading.Event(), False
        self._error: Exception | None = None
        self._sizes, self._too_old, self._last_ns = SizeWatch(name, on_warning), 0, -1
        pictures = self._opened()
        self._thread = threading.Thread(target=self._run, args=(pictures,), name=f"grab {name}", daemon=True)
        self._thread.start()

    @property
    def camera_is_estimated(self) -> bool:
        return self._guess.estimated

    @property
    def dropped(self) -> int:
        return self._latest.dropped + self._too_old

    @property
    def ended(self) -> bool:
        return self._exhausted

    def read(self) -> Frame | None:
        """The next frame that comes; of those that came since the last call only the newest."""
        return self._frame_of(self._latest.take())

    def read_latest(self, max_age_s: float) -> Frame | None:
        deadline_s = self._clock.now_s() + max_age_s
        while True:
            now_s = self._clock.now_s()
            taken = self._latest.take(max(0.0, deadline_s - now_s))
            if taken is None or self._clock.now_s() - taken[0] <= max_age_s:
                return self._frame_of(taken)
            self._too_old += 1

    def close(self) -> None:
        self._stop.set()
        self._latest.close()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            self._warn(f"{self.name}: still busy {_JOIN_S:g} s after closing; it is freed when its last grab returns")

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _frame_of(self, taken: tuple[float, Frame] | None) -> Frame | None:
        if taken is None and self._error is not None:
            raise SourceError(str(self._error)) from self._error
        self._exhausted = taken is None and self._latest.closed
        return taken[1] if taken else None

    def _opened(self) -> Pictures:
        """An open device whose first picture has been put into the slot."""
        pictures = self._open()
        try:
            first = next(pictures, None)
        except BaseException:
            pictures.close()
            raise
        if first is None:
            raise SourceError(f"{self.name}: opened, but ended before its first picture")
        self._put(first)
        return pictures

    def _put(self, picture: Picture) -> None:
        stamp_ns, rgb = picture
        now_s = self._clock.now_s()
        stamp_ns = round(now_s * 1e9) if stamp_ns is None else stamp_ns
        # A device that starts its clock anew (a reconnected stream) must not step back in time.
        if stamp_ns <= self._last_ns:
            stamp_ns = self._last_ns + 1
        self._last_ns = stamp_ns
        self._sizes.see("the picture", rgb)
        self._latest.put((now_s, shrunk(self._guess.frame(stamp_ns, rgb), self._config.max_side_px)))

    def _run(self, pictures: Pictures | None) -> None:
        try:
            while pictures is not None:
                pictures = self._drain(pictures)
        except Exception as error:
            # Handed over to the reader's thread, which raises it from read().
            self._error = error
        finally:
            self._latest.close()

    def _drain(self, pictures: Pictures) -> Pictures | None:
        """Grabs until the stream ends (None), or until it is lost and open again (the new pictures)."""
        try:
            for picture in pictures:
                if self._stop.is_set():
                    return None
                self._put(picture)
            return None
        except SourceError as loss:
            return self._reopened(loss)
        finally:
            pictures.close()

    def _reopened(self, loss: SourceError) -> Pictures | None:
        attempts, cause = self._config.reconnect_attempts, loss
        for attempt in range(1, attempts + 1):
            self._warn(f"{self.name}: lost ({cause}); opening it again, attempt {attempt} of {attempts}")
            if self._stop.wait(self._config.reconnect_delay_s):
                return None
            try:
                return self._opened()
            except SourceError as error:
                cause = error
        raise SourceError(f"{self.name}: lost, and {attempts} attempts to open it again failed: {cause}") from loss
