"""What a stream of frames is, how one is asked for, and `open_source`, which finds the right kind for a name."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from fmgs_core.types import Frame

OnWarning = Callable[[str], None]
"""Gets one sentence about what was read less well than asked, at the moment it is known. Never called for plain progress."""

log_warning: OnWarning = logging.getLogger("fmgs_core.stream").warning

_BAG_SUFFIXES = (".mcap", ".db3")
_URL_SCHEMES = ("rtsp", "rtmp", "http", "https", "udp", "tcp")


class SourceError(RuntimeError):
    """A device or network stream that cannot be opened, or that was lost and did not come back. Says what was tried."""


@dataclass(frozen=True)
class SourceConfig:
    """How to read a stream. Fields that do not concern the kind of source at hand have no effect on it."""

    focal_px: float | None = None
    """Focal length [px] of a source that does not know its own, at the size of its first picture; None estimates it."""
    fps_override: float | None = None
    """Re-times a recording: frame i comes i / fps after the first. Asks a camera device for this rate. None: as it is."""
    topic: str | None = None
    """Image topic of a bag; None takes the only one there is."""
    max_side_px: int | None = None
    """Larger pictures are shrunk so that their longer side has this many pixels; None keeps their size."""
    camera_size_px: tuple[int, int] | None = None
    """Width and height to ask a camera device for; None keeps the device's own choice."""
    reconnect_attempts: int = 5
    """How often a lost device or network stream is opened again before it is given up."""
    reconnect_delay_s: float = 1.0
    """Pause before each of these attempts."""

    def __post_init__(self):
        for name in ("focal_px", "fps_override", "max_side_px"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"SourceConfig.{name}: expected None or a positive number, got {value}")
        if self.camera_size_px is not None and min(self.camera_size_px) < 1:
            raise ValueError(f"SourceConfig.camera_size_px: expected None or two positive sizes, got {self.camera_size_px}")
        if self.reconnect_attempts < 0:
            raise ValueError(f"SourceConfig.reconnect_attempts: expected zero or more, got {self.reconnect_attempts}")
        if not 0 <= self.reconnect_delay_s < float("inf"):
            raise ValueError(f"SourceConfig.reconnect_delay_s: expected zero or more seconds, got {self.reconnect_delay_s}")


@dataclass(frozen=True)
class Clock:
    """The reader's time, passed in so that tests can own it."""

    now_s: Callable[[], float] = time.monotonic
    sleep_s: Callable[[float], None] = time.sleep


@runtime_checkable
class FrameSource(Protocol):
    """Frames of one camera in time order. Opening is all or nothing: an open source has delivered its first picture.

    A context manager; leaving it frees files, devices and threads.
    """

    @property
    def name(self) -> str:
        """What is read, for messages to people."""
        ...

    @property
    def fps(self) -> float | None:
        """Nominal frames per second; None when the source does not say."""
        ...

    @property
    def live(self) -> bool:
        """Frames that are not read in time are gone."""
        ...

    @property
    def length(self) -> int | None:
        """Number of frames the source says it has; a damaged one may deliver fewer. None when it cannot know."""
        ...

    @property
    def camera_is_estimated(self) -> bool:
        """The intrinsics of the frames are a guess (1.2 times the longer side), not a calibration."""
        ...

    @property
    def ended(self) -> bool:
        """No further frame will come."""
        ...

    @property
    def dropped(self) -> int:
        """Frames that came and were not handed out, because they were read too late or could not be used."""
        ...

    def read(self) -> Frame | None:
        """The next frame in order, waiting for it; None at the end.

        Raises:
            SourceError: a live source was lost and did not come back.
            ValueError: a recording holds something that cannot be read as frames.
        """
        ...

    def read_latest(self, max_age_s: float) -> Frame | None:
        """The newest frame not handed out yet, if it is at most max_age_s old; older ones are dropped and counted.

        Waits up to max_age_s for one. None: none came in that time; `ended` says whether one may still come. Recordings
        play by their stamps from the first call on, as if they were live. Raises as `read` does.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> "FrameSource": ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...


def open_source(
    spec: str | Path,
    config: SourceConfig | None = None,
    *,
    on_warning: OnWarning = log_warning,
    clock: Clock | None = None,
) -> FrameSource:
    """Opens what `spec` names: a camera index ("0") or /dev/video path, a URL, a video file, a folder of pictures, a bag
    (folder, .mcap or .db3), or an avatar_gt/1 sequence (its folder, or the folder of one split).

    Raises:
        ValueError: `spec` names nothing that can be read as frames; says what was expected and what was found.
        SourceError: a device or network stream does not open.
        ModuleNotFoundError: the reader's package is missing; names the install command.
    """
    # Imported here: each reader needs a package of its own, and none of them is needed to name a source.
    config, clock, text = config or SourceConfig(), clock or Clock(), str(spec)
    if text.isdecimal() or text.startswith("/dev/video"):
        from fmgs_core.stream.camera import CameraSource

        return CameraSource(int(text) if text.isdecimal() else text, config, on_warning=on_warning, clock=clock)
    if "://" in text and text.split("://")[0] in _URL_SCHEMES:
        from fmgs_core.stream.video import NetworkSource

        return NetworkSource(text, config, on_warning=on_warning, clock=clock)
    path = Path(spec)
    if path.is_dir():
        return _open_folder(path, config, on_warning, clock)
    if not path.is_file():
        raise ValueError(f"source: expected a camera index, a URL, or an existing file or folder, got {text!r}")
    if path.suffix in _BAG_SUFFIXES:
        from fmgs_core.stream.bag import BagSource

        return BagSource(path, config, on_warning=on_warning, clock=clock)
    from fmgs_core.stream.video import VideoSource

    return VideoSource(path, config, on_warning=on_warning, clock=clock)


def _open_folder(path: Path, config: SourceConfig, on_warning: OnWarning, clock: Clock) -> FrameSource:
    if (path / "meta.json").is_file() or (path / "params.npz").is_file():
        from fmgs_core.stream.sequence import SequenceSource

        is_split = not (path / "meta.json").is_file()
        root, split = (path.parent, path.name) if is_split else (path, "train")
        return SequenceSource(root, split, config, on_warning=on_warning, clock=clock)
    if (path / "metadata.yaml").is_file() or any(p.suffix in _BAG_SUFFIXES for p in path.iterdir()):
        from fmgs_core.stream.bag import BagSource

        return BagSource(path, config, on_warning=on_warning, clock=clock)
    from fmgs_core.stream.folder import FolderSource

    return FolderSource(path, config, on_warning=on_warning, clock=clock)
