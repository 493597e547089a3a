"""Any source of pictures as a stream in real time: recordings are played by their stamps, over and over when asked."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fmgs_core.stream.source import Clock, FrameSource, OnWarning, SourceConfig, log_warning, open_source
from fmgs_core.types import Frame
from fmgs_ros.diagnostics import DiagnosticsConfig
from fmgs_ros.qos import check_qos

# How soon a stop is heeded while a camera gives no picture [s].
_STOP_CHECK_S = 0.2
# Between the laps of a recording of one picture, or of unknown rate.
_USUAL_STEP_NS = 66_666_667


@dataclass(frozen=True)
class CaptureConfig:
    """What is played, and how."""

    source: str = "/dev/video0"
    """/dev/video path or camera index (a text: '"0"'), URL, video file, folder of pictures, or bag (folder, .mcap, .db3)."""
    loop: bool = False
    """Whether a recording starts over at its end; stamps go on rising."""
    speed: float = 1.0
    """Recordings play this many times as fast as they were taken."""
    stamps: Literal["shifted", "source", "now"] = "shifted"
    """shifted: as far apart as the source has them, from the present on. source: as the source has them (of a bag: of its
    headers; of a camera: of the driver, which are not times of day). now: when the picture is published."""
    start_when_subscribed: bool = False
    """Whether a recording waits for the first subscriber of the pictures."""
    frame_id: str = "camera_optical_frame"
    """Optical frame of the camera: x right, y down, z forward."""
    calibration: Path | None = None
    """Calibration file of camera_calibration. Without one, camera_info says what the source knows of its camera, and
    K[0] == 0 where that is a guess."""
    jpeg_quality: int = 90
    """Of the compressed pictures, in 1 to 100."""
    output_qos: str = "DEFAULT"
    """Quality of service of pictures and camera_info. Reliable ones suit every subscriber."""
    reader: SourceConfig = field(default_factory=lambda: SourceConfig(reconnect_attempts=3600))
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)

    def __post_init__(self):
        if not self.source:
            raise ValueError("CaptureConfig.source: expected a camera index, a URL, or an existing file or folder, got ''")
        if not 0 < self.speed < float("inf"):
            raise ValueError(f"CaptureConfig.speed: expected more than zero, got {self.speed}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"CaptureConfig.jpeg_quality: expected 1 to 100, got {self.jpeg_quality}")
        check_qos("CaptureConfig.output_qos", self.output_qos)


@dataclass(frozen=True, eq=False)
class Played:
    """One picture at its time."""

    stamp_ns: int
    """To be published, as `CaptureConfig.stamps` says."""
    frame: Frame


class Player:
    """Plays a source until it ends or is stopped. A context manager, which frees the source.

    Args:
        now_ns: the time of day that stamps are made of.
        clock: paces recordings.

    Raises:
        ValueError, SourceError: the source does not open.
    """

    def __init__(
        self,
        config: CaptureConfig,
        now_ns: Callable[[], int] = time.time_ns,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ):
        self._config, self._now_ns, self._warn = config, now_ns, on_warning
        self._clock, self._wait = clock or Clock(), wait
        self.source = self._opened()
        self.laps = 0
        """How often a recording was played to its end."""

    def play(self, stop: threading.Event) -> Iterator[Played]:
        """Each picture when it is due; none is left out of a recording, however slow the reader.

        Raises:
            SourceError: a camera was lost and did not come back.
            ValueError: a recording holds something that cannot be read.
        """
        pictures = self._live(stop) if self.source.live else self._recorded(stop)
        first: tuple[int, int] | None = None
        for source_ns, frame in pictures:
            now_ns = self._now_ns()
            first = first or (source_ns, now_ns)
            shifted = first[1] + round((source_ns - first[0]) / self._speed)
            stamps = {"source": source_ns, "now": now_ns, "shifted": shifted}
            yield Played(stamps[self._config.stamps], frame)

    def close(self) -> None:
        self.source.close()

    def __enter__(self) -> "Player":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _speed(self) -> float:
        return 1.0 if self.source.live else self._config.speed

    def _opened(self) -> FrameSource:
        return open_source(self._config.source, self._config.reader, on_warning=self._warn)

    def _live(self, stop: threading.Event) -> Iterator[tuple[int, Frame]]:
        while not stop.is_set() and not self.source.ended:
            frame = self.source.read_latest(_STOP_CHECK_S)
            if frame is not None:
                yield frame.stamp_ns, frame

    def _recorded(self, stop: threading.Event) -> Iterator[tuple[int, Frame]]:
        start_s = first_ns = None
        for source_ns, frame in self._unrolled(stop):
            if start_s is None or first_ns is None:
                start_s, first_ns = self._clock.now_s(), source_ns
            due_s = start_s + (source_ns - first_ns) * 1e-9 / self._config.speed
            if self._wait(stop, max(0.0, due_s - self._clock.now_s())):
                return
            yield source_ns, frame

    def _unrolled(self, stop: threading.Event) -> Iterator[tuple[int, Frame]]:
        """Lap after lap; each begins as long after the one before as its last two pictures are apart."""
        last_ns, step_ns = None, _USUAL_STEP_NS
        while not stop.is_set():
            offset_ns = None
            while (frame := self.source.read()) is not None:
                if offset_ns is None:
                    offset_ns = 0 if last_ns is None else last_ns + step_ns - frame.stamp_ns
                stamp_ns = frame.stamp_ns + offset_ns
                step_ns = step_ns if last_ns is None else stamp_ns - last_ns
                last_ns = stamp_ns
                yield stamp_ns, frame
            self.laps += 1
            if not self._config.loop:
                return
            self.source.close()
            self.source = self._opened()
