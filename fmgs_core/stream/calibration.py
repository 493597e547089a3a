"""Camera models of sensor_msgs/CameraInfo: intrinsics at pixel centres +0.5, and removal of lens distortion."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Image

_MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "fisheye")
# ROS and OpenCV put the centre of the first pixel at 0, this project at 0.5.
_HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@dataclass(frozen=True)
class Calibration:
    """What a CameraInfo says of one picture size.

    Raises:
        ValueError: a distortion model that is not known here.
    """

    camera: Camera
    """Intrinsics of the picture as it comes, still distorted."""
    model: str = "plumb_bob"
    distortion: tuple[float, ...] = field(default=())
    """Coefficients in the order of the model; all zero, or none, for a picture that needs no undistortion."""

    def __post_init__(self):
        if self.distorted and self.model not in _MODELS:
            raise ValueError(f"CameraInfo.distortion_model: expected one of {', '.join(_MODELS)}, got {self.model!r}")

    @property
    def distorted(self) -> bool:
        return any(self.distortion)

    def resized(self, width: int, height: int) -> "Calibration":
        """The calibration of the same view resampled; coefficients act on normalised coordinates and stay."""
        if (width, height) == (self.camera.width, self.camera.height):
            return self
        return Calibration(self.camera.resized(width, height), self.model, self.distortion)

    @cached_property
    def undistorted_camera(self) -> Camera:
        """Pinhole of the undistorted picture: the widest in which every pixel was seen."""
        if not self.distorted:
            return self.camera
        size = self.camera.width, self.camera.height
        K, D = self.camera.K - _HALF_PIXEL, np.array(self.distortion)
        if self._fisheye:
            K_new = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(K, D[:4], size, np.eye(3), balance=0.0)
        else:
            K_new, _ = cv2.getOptimalNewCameraMatrix(K, D, size, alpha=0.0)
        return Camera(np.asarray(K_new, dtype=np.float64) + _HALF_PIXEL, *size, self.camera.T_camera_world)

    def undistorted(self, rgb: Image) -> Image:
        """The picture that `undistorted_camera` sees, bilinear; the same array when there is no distortion."""
        return cv2.remap(rgb, *self._maps, cv2.INTER_LINEAR) if self.distorted else rgb

    @property
    def _fisheye(self) -> bool:
        return self.model in ("equidistant", "fisheye")

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        size = self.camera.width, self.camera.height
        K, K_new, D = self.camera.K - _HALF_PIXEL, self.undistorted_camera.K - _HALF_PIXEL, np.array(self.distortion)
        if self._fisheye:
            return cv2.fisheye.initUndistortRectifyMap(K, D[:4], np.eye(3), K_new, size, cv2.CV_16SC2)
        return cv2.initUndistortRectifyMap(K, D, np.eye(3), K_new, size, cv2.CV_16SC2)


def calibration_from_info(info: Any, *, rectified: bool = False) -> Calibration | None:
    """Calibration of a CameraInfo message; None when it says that the camera is not calibrated (K[0] == 0).

    Args:
        info: anything with the fields of sensor_msgs/CameraInfo, ROS 2 (k, d, p) spelling.
        rectified: the picture is already undistorted (an image_rect topic), so its intrinsics are those of P.
    """
    K = np.asarray(info.k, dtype=np.float64).reshape(3, 3)
    if rectified:
        K = np.asarray(info.p, dtype=np.float64).reshape(3, 4)[:, :3]
    if K[0, 0] == 0:
        return None
    camera = Camera(K + _HALF_PIXEL, info.width, info.height, T_CAMERA_WORLD_UNPOSED)
    distortion = () if rectified else tuple(float(d) for d in info.d)
    return Calibration(_region(camera, info.roi), info.distortion_model, distortion)


def _region(camera: Camera, roi: Any) -> Camera:
    """The camera of the region of interest that the sensor sent; width 0 means all. Binning is a plain resize."""
    return camera.cropped(roi.x_offset, roi.y_offset, roi.width, roi.height) if roi.width and roi.height else camera
