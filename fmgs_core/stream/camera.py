"""Camera devices (webcams, V4L2) through OpenCV."""

import sys
from pathlib import Path

import cv2

from fmgs_core.stream.live import LiveSource, Pictures
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, SourceError, log_warning


class CameraSource(LiveSource):
    """A camera by index or device path. Stamps are the driver's, where it gives any, else the time of the grab.

    Raises:
        SourceError: no such device, no right to it, or no picture from it; says which cameras exist.
    """

    def __init__(
        self,
        device: int | str,
        config: SourceConfig | None = None,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        config = config or SourceConfig()
        super().__init__(
            f"camera {device}",
            lambda: _device_pictures(device, config),
            config,
            fps=config.fps_override,
            on_warning=on_warning,
            clock=clock,
        )


def _device_pictures(device: int | str, config: SourceConfig) -> Pictures:
    # Asked first, because OpenCV's own answer to a missing device is noise on stderr from every backend it tries.
    if sys.platform == "linux" and not Path(f"/dev/video{device}" if isinstance(device, int) else device).exists():
        raise SourceError(f"camera {device}: expected a camera of this machine, got none; {_present()}")
    capture = cv2.VideoCapture(device)
    try:
        if not capture.isOpened():
            raise SourceError(f"camera {device}: expected a camera that opens, got none; {_present()}")
        _request(capture, config)
        while True:
            good, bgr = capture.read()
            if not good:
                raise SourceError(f"camera {device}: open, but gave no picture (in use elsewhere, or unplugged?)")
            yield _stamp_ns(capture), cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _request(capture: cv2.VideoCapture, config: SourceConfig) -> None:
    """Asks for size and rate; drivers answer with the nearest they have."""
    if config.camera_size_px is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.camera_size_px[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.camera_size_px[1])
    if config.fps_override is not None:
        capture.set(cv2.CAP_PROP_FPS, config.fps_override)


def _stamp_ns(capture: cv2.VideoCapture) -> int | None:
    """The V4L2 buffer's stamp; None where the backend reports zero."""
    stamp_ms = capture.get(cv2.CAP_PROP_POS_MSEC)
    return round(stamp_ms * 1e6) if stamp_ms > 0 else None


def _present() -> str:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    return f"there is {', '.join(devices)}" if devices else "there is no /dev/video* on this machine"
