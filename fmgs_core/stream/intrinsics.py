"""Cameras of sources that know nothing of theirs, and shrinking of frames that are larger than asked for."""

import cv2
import numpy as np

from fmgs_core.stream.source import OnWarning
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Frame

# Focal length over the longer side: 45 degrees of view, that of common webcams and phones. A wrong one shifts the person
# in depth and hardly changes the fit, so the fit cannot tell it.
FOCAL_RATIO = 1.2


class CameraGuess:
    """Cameras for pictures of unknown intrinsics: square pixels, principal point at the centre, focal length in proportion
    to the longer side, so that a picture that changes its size keeps its field of view."""

    def __init__(self, focal_px: float | None):
        self._focal_px = focal_px
        self._ratio = None if focal_px else FOCAL_RATIO

    @property
    def estimated(self) -> bool:
        return self._focal_px is None

    def camera(self, width: int, height: int) -> Camera:
        """Unposed camera of one picture; the first call ties `focal_px` to its size."""
        if self._ratio is None:
            assert self._focal_px is not None
            self._ratio = self._focal_px / max(width, height)
        focal = self._ratio * max(width, height)
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return Camera(K, width, height, T_CAMERA_WORLD_UNPOSED)

    def frame(self, stamp_ns: int, rgb: np.ndarray) -> Frame:
        return Frame(stamp_ns, rgb, self.camera(rgb.shape[1], rgb.shape[0]))


def shrunk(frame: Frame, max_side_px: int | None) -> Frame:
    """The frame with its longer side at most max_side_px, area-averaged; never enlarged."""
    height, width = frame.rgb.shape[:2]
    if max_side_px is None or max(width, height) <= max_side_px:
        return frame
    scale = max_side_px / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Frame(frame.stamp_ns, cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA), frame.camera.resized(*size))


class SizeWatch:
    """Says aloud, once per change, that pictures of a stream changed their size."""

    def __init__(self, name: str, on_warning: OnWarning):
        self._name, self._warn = name, on_warning
        self._size: tuple[int, int] | None = None

    def see(self, what: str, rgb: np.ndarray) -> None:
        size = rgb.shape[1], rgb.shape[0]
        if self._size not in (None, size):
            assert self._size is not None
            old = f"{self._size[0]} x {self._size[1]}"
            self._warn(f"{self._name}: {what} is {size[0]} x {size[1]} px after {old} px; its camera is adapted")
        self._size = size
