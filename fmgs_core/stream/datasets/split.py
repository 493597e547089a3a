"""What every dataset comes down to: shots with a camera, a body state, a picture and a mask, in a train and a test split."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8

from fmgs_core.stream.replay import Frames, ReplaySource
from fmgs_core.stream.source import Clock, SourceConfig
from fmgs_core.types import BodyState, Camera, Frame, Image

Taken = tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]
"""Picture and person mask of one shot, of the size its camera says."""

# OpenCV, and the calibrations made with it, put the centre of the first pixel at 0; this project at 0.5.
_HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@dataclass(frozen=True)
class Lens:
    """A calibrated camera as the data has it."""

    K: Float[np.ndarray, "3 3"]
    """Intrinsics [px], first pixel's centre at 0 as in OpenCV."""
    distortion: Float[np.ndarray, " d"]
    """OpenCV's coefficients; zeros, or none, for undistorted pictures."""

    def camera(self, size: tuple[int, int], T_camera_world: Float[np.ndarray, "4 4"]) -> Camera:
        """Of the undistorted picture, width and height given. K stays as it is: so do the peers, and pixels beside the
        person cost nothing."""
        return Camera(np.asarray(self.K, np.float64) + _HALF_PIXEL, *size, T_camera_world)

    def undistorted(self, picture: np.ndarray) -> np.ndarray:
        """Bilinear; the same array when there is no distortion."""
        if not np.any(self.distortion):
            return picture
        return cv2.undistort(picture, np.asarray(self.K, np.float64), np.asarray(self.distortion, np.float64))


@dataclass(frozen=True)
class Shot:
    """One picture of a dataset, on disk until it is read."""

    stamp_ns: int
    """Shots of one instant by several cameras share it."""
    camera: Camera
    """Of the picture as `read` gives it: undistorted, at the split's size."""
    state: BodyState
    read: Callable[[], Taken]


@dataclass(frozen=True)
class DatasetSplit:
    """Shots in the published order; the person over black, as the peers train and measure."""

    name: str
    shots: tuple[Shot, ...]

    def __len__(self) -> int:
        return len(self.shots)

    @property
    def stamps_ns(self) -> Int64[np.ndarray, " n"]:
        return np.array([shot.stamp_ns for shot in self.shots], np.int64)

    @property
    def states(self) -> tuple[BodyState, ...]:
        return tuple(shot.state for shot in self.shots)

    @property
    def cameras(self) -> tuple[Camera, ...]:
        return tuple(shot.camera for shot in self.shots)

    def frame(self, index: int) -> Frame:
        shot = self.shots[index]
        rgb, mask = shot.read()
        return Frame(shot.stamp_ns, np.where(mask[..., None], rgb, 0).astype(np.uint8), shot.camera)

    def mask(self, index: int) -> Float[np.ndarray, "h w"]:
        """Coverage, 0 or 1."""
        return self.shots[index].read()[1].astype(np.float32)


@dataclass(frozen=True)
class DatasetSubject:
    """One person of a dataset."""

    name: str
    train: DatasetSplit
    test: DatasetSplit
    notes: tuple[str, ...] = ()
    """What differs from the published protocol, in sentences."""


class DatasetSource(ReplaySource):
    """A split as a recording, every shot once. Its pictures keep their size: masks are found by stamp and must fit."""

    def __init__(self, split: DatasetSplit):
        super().__init__(
            split.name, _frames(split), SourceConfig(), fps=None, length=len(split), estimated=lambda: False, clock=Clock()
        )


def _frames(split: DatasetSplit) -> Frames:
    for index in range(len(split)):
        yield split.frame(index)


def resized_shot(rgb: Image, mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> Taken:
    """Picture averaged, mask by the nearest pixel, to width and height."""
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb, mask
    nearest = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), nearest > 0
