"""Pictures and per-pixel maps on disk, in the layout avatar_gt/1: one place decodes them for recordings and for evaluation.

A folder of maps holds `mask/`, `depth/`, `normal/`, `label/` with files `%06d.png`, and `keypoints/` with `%06d.json`, numbered
by frame.
"""

import json
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from fmgs_core.types import Image, Keypoints, PriorMaps

LABEL_SET = "sapiens28"
DEPTH_UNIT_M = 1e-4


def read_rgb(path: Path) -> Image:
    """8-bit RGB of any picture file OpenCV knows, turned upright as its EXIF says; alpha is dropped.

    Raises:
        ValueError: not a picture, or a cut one.
    """
    return cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_mask(path: Path) -> Float[np.ndarray, "h w"]:
    """Coverage in [0, 1] of an 8-bit mask."""
    return _checked(path, np.uint8, 2).astype(np.float32) / 255


def read_depth(path: Path) -> Float[np.ndarray, "h w"]:
    """Camera z [m] of a 16-bit map in units of 0.1 mm; NaN where it is zero (background)."""
    depth = _checked(path, np.uint16, 2).astype(np.float32) * np.float32(DEPTH_UNIT_M)
    depth[depth == 0] = np.nan
    return depth


def read_normal(path: Path) -> Float[np.ndarray, "h w 3"]:
    """Unit normals, camera axes, of an 8-bit map n = (value - 127.5) / 127.5; zeros where it is 0, 0, 0 (background)."""
    stored = cv2.cvtColor(_checked(path, np.uint8, 3), cv2.COLOR_BGR2RGB)
    normal = (stored.astype(np.float32) - 127.5) / 127.5
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    normal[~stored.any(-1)] = 0
    return normal


def read_labels(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Class ids of LABEL_SET, 0 = background."""
    return _checked(path, np.uint8, 2)


def read_maps(folder: Path, index: int, *, geometry_trust: float = 1.0) -> PriorMaps:
    """The maps of one frame; those whose file is not there are None."""
    found = {kind: folder / kind / f"{index:06d}.png" for kind in ("mask", "depth", "normal", "label")}
    found = {kind: path for kind, path in found.items() if path.is_file()}
    keypoints = keypoints_path(folder, index)
    return PriorMaps(
        keypoints=read_keypoints(keypoints) if keypoints.is_file() else None,
        mask=read_mask(found["mask"]) if "mask" in found else None,
        depth=read_depth(found["depth"]) if "depth" in found else None,
        normal=read_normal(found["normal"]) if "normal" in found else None,
        labels=read_labels(found["label"]) if "label" in found else None,
        label_set=LABEL_SET if "label" in found else None,
        geometry_trust=geometry_trust,
    )


def keypoints_path(folder: Path, index: int) -> Path:
    return folder / "keypoints" / f"{index:06d}.json"


def read_keypoints(path: Path) -> Keypoints:
    """Landmarks of the frame's pixels.

    Raises:
        ValueError: not JSON of layout, points and points_3d.
    """
    try:
        stored = json.loads(path.read_text())
        points = np.array(stored["points"], np.float64).reshape(-1, 3)
        points_3d = stored["points_3d"]
        points_3d = None if points_3d is None else np.array(points_3d, np.float64).reshape(points.shape)
        return Keypoints(str(stored["layout"]), points, points_3d)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected layout, points (n x 3) and points_3d (n x 3 or null), got {error!r}") from error


def _checked(path: Path, dtype: type, ndim: int) -> np.ndarray:
    picture = _decoded(path, cv2.IMREAD_UNCHANGED)
    if picture.dtype != dtype or picture.ndim != ndim:
        expected = f"{np.dtype(dtype).name} with {1 if ndim == 2 else 3} channel(s)"
        raise ValueError(f"{path}: expected a map of {expected}, got {picture.dtype.name} of shape {picture.shape}")
    return picture


def _decoded(path: Path, flags: int) -> np.ndarray:
    content = path.read_bytes()
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if picture is None:
        raise ValueError(f"{path}: expected a picture, got {len(content)} bytes that do not decode as one")
    return picture


def write_rgb(path: Path, rgb: Image) -> None:
    _write(path, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def write_mask(path: Path, mask: Float[np.ndarray, "h w"]) -> None:
    """Coverage in [0, 1]."""
    _write(path, np.rint(mask.clip(0, 1) * 255).astype(np.uint8))


def write_depth(path: Path, depth: Float[np.ndarray, "h w"]) -> None:
    """Camera z [m], NaN where nothing is; the format ends at 6.55 m.

    Raises:
        ValueError: a depth that the format cannot hold.
    """
    units = np.nan_to_num(depth, nan=0.0, posinf=np.inf, neginf=-np.inf) / DEPTH_UNIT_M
    if units.min() < 0 or units.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"{path}: expected depths of 0 to 6.55 m, got {np.nanmin(depth):.2f} to {np.nanmax(depth):.2f} m")
    _write(path, np.rint(units).astype(np.uint16))


def write_normal(path: Path, normal: Float[np.ndarray, "h w 3"], known: Bool[np.ndarray, "h w"]) -> None:
    """Unit normals, camera axes; what is not known is stored as 0, 0, 0."""
    stored = np.rint(normal * 127.5 + 127.5).clip(0, 255).astype(np.uint8)
    stored[~known] = 0
    _write(path, cv2.cvtColor(stored, cv2.COLOR_RGB2BGR))


def write_labels(path: Path, labels: UInt8[np.ndarray, "h w"]) -> None:
    _write(path, labels)


def write_keypoints(path: Path, keypoints: Keypoints) -> None:
    """Pixels to a thousandth, metres to a tenth of a millimetre."""
    points_3d = keypoints.points_3d
    stored = {
        "layout": keypoints.layout,
        "points": np.round(keypoints.points, 3).tolist(),
        "points_3d": None if points_3d is None else np.round(points_3d, 4).tolist(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored) + "\n")


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path}: the picture could not be written")
