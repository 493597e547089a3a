"""What a CameraInfo says: the calibration file of camera_calibration, or what a source knows. No ROS needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import yaml

from fmgs_core.types import Camera
from fmgs_ros.convert import fill_camera_info


@dataclass(frozen=True)
class CameraYaml:
    """Named as in sensor_msgs/CameraInfo; pixel centres are ROS's, the first one at 0."""

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]

    def fill(self, message: Any) -> None:
        """Writes it into a CameraInfo; its header is left alone."""
        message.width, message.height, message.distortion_model = self.width, self.height, self.distortion_model
        message.d, message.k, message.r, message.p = list(self.d), list(self.k), list(self.r), list(self.p)


def read_camera_yaml(path: Path) -> CameraYaml:
    """Rectification and projection may be missing: then they are those of a single camera.

    Raises:
        ValueError: no such file, not YAML, a missing entry, or a matrix of the wrong size; names the entry.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"calibration {path}: expected a YAML file, got: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"calibration {path}: expected entries such as camera_matrix, got {type(content).__name__}")
    k = _matrix(content, "camera_matrix", 9, path)
    eye = {"data": np.eye(3).ravel().tolist()}
    projection = {"data": np.hstack([np.reshape(k, (3, 3)), np.zeros((3, 1))]).ravel().tolist()}
    return CameraYaml(
        width=_size(content, "image_width", path),
        height=_size(content, "image_height", path),
        distortion_model=str(content.get("distortion_model", "plumb_bob")),
        d=_matrix(content, "distortion_coefficients", None, path),
        k=k,
        r=_matrix({"rectification_matrix": eye} | content, "rectification_matrix", 9, path),
        p=_matrix({"projection_matrix": projection} | content, "projection_matrix", 12, path),
    )


def fill_info(info: Any, camera: Camera, calibration: CameraYaml | None, *, is_estimated: bool) -> None:
    """What a CameraInfo says of a picture. A guessed focal length is not passed on: K[0] == 0 leaves it to those who listen.

    Raises:
        ValueError: the calibration is of another size of picture.
    """
    if calibration is None:
        fill_camera_info(info, camera)
        if is_estimated:
            info.k, info.p, info.d = [0.0] * 9, [0.0] * 12, []
        return
    expected, got = (f"{x.width} x {x.height}" for x in (calibration, camera))
    if expected != got:
        raise ValueError(f"calibration: expected pictures of {expected} as the file says, got {got}")
    calibration.fill(info)


def _size(content: dict, name: str, path: Path) -> int:
    if not isinstance(value := content.get(name), int) or value < 1:
        raise ValueError(f"calibration {path}: expected {name} of at least 1, got {value!r}")
    return value


def _matrix(content: dict, name: str, length: int | None, path: Path) -> tuple[float, ...]:
    entry = content.get(name)
    values = entry.get("data") if isinstance(entry, dict) else None
    if not _are_finite(values) or (length is not None and len(values) != length):
        expected = f"data of {length if length else 'some'} finite numbers"
        raise ValueError(f"calibration {path}: expected {name} with {expected}, got {entry!r}")
    return tuple(float(v) for v in values)


def _are_finite(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(isinstance(v, int | float) and np.isfinite(v) for v in values)
