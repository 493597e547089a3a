"""Maps from an RGB-D camera, as a plugin of fmgs: depth pictures that lie beside the colour stream become normals and depth.

    pip install --no-build-isolation ./examples/rgbd_priors
    fmgs run COLOUR --priors rgbd --prior-options depth=FOLDER

FOLDER holds 16-bit PNGs aligned to the colour pictures, named by time: 1305031102.160407.png in seconds, as TUM's RGB-D data
has them, or 1305031102160407000.png in nanoseconds. MediaPipe still gives mask and landmarks.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from fmgs_core.types import Camera, Frame, PriorMaps

OPTIONS = {"depth": "", "unit_m": "0.001", "tolerance_s": "0.02", "trust": "1.0"}
STEP_PX = 3  # between the points whose difference is a tangent: a depth camera's noise drowns nearer ones
EDGE_M = 0.05  # tangents over larger steps in depth lead from one surface to another


def make(options: Mapping[str, str]) -> "RgbdPrior":
    """What the entry point names. `unit_m`: metres of one unit (TUM: 0.0002).

    Raises:
        ValueError: an unknown option, or no folder of depth pictures.
    """
    unknown = sorted(options.keys() - OPTIONS.keys())
    if unknown:
        raise ValueError(f"rgbd options: expected some of {', '.join(OPTIONS)}, got {', '.join(unknown)}")
    chosen = {**OPTIONS, **options}
    unit_m, tolerance_s, trust = (float(chosen[name]) for name in ("unit_m", "tolerance_s", "trust"))
    return RgbdPrior(Path(chosen["depth"]).expanduser(), unit_m, tolerance_s, trust)


class RgbdPrior:
    """Looks at every frame, as fmgs_core.priors.Prior asks: `predict` and `close` are all there is to it."""

    def __init__(self, folder: Path, unit_m: float, tolerance_s: float, trust: float):
        paths = {_stamp_ns(path): path for path in folder.glob("*.png")} if folder.is_dir() else {}
        if not paths:
            raise ValueError(f"rgbd option depth: expected a folder of PNGs named by time, got {str(folder)!r}")
        self._stamps_ns = np.array(sorted(paths), np.int64)
        self._paths = [paths[stamp] for stamp in sorted(paths)]
        self._unit_m, self._tolerance_ns, self._trust = unit_m, tolerance_s * 1e9, trust

    def predict(self, frame: Frame) -> PriorMaps:
        nearest = int(np.abs(self._stamps_ns - frame.stamp_ns).argmin())
        if abs(int(self._stamps_ns[nearest]) - frame.stamp_ns) > self._tolerance_ns:
            return PriorMaps()
        depth = read_depth(self._paths[nearest], self._unit_m, frame.camera)
        return PriorMaps(depth=depth, normal=normals_of(depth, frame.camera), geometry_trust=self._trust)

    def close(self) -> None:
        """Nothing is held open."""


def read_depth(path: Path, unit_m: float, camera: Camera) -> np.ndarray:
    """Camera z [m] of the camera's pixels, NaN where the camera saw nothing."""
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    expected = (camera.height, camera.width)
    if stored is None or stored.dtype != np.uint16 or stored.shape != expected:
        got = "no picture" if stored is None else f"{stored.dtype} {stored.shape}"
        raise ValueError(f"{path}: expected 16-bit depth of {expected}, aligned to the colours, got {got}")
    depth = cv2.medianBlur(stored, 5).astype(np.float32) * np.float32(unit_m)
    depth[stored == 0] = np.nan
    return depth


def normals_of(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Unit normals in camera axes (x right, y down, z forward), towards the camera; zeros where two tangents are not known."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    K = camera.K
    points = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones_like(depth)], -1) * depth[..., None]
    along_x, along_y = (_tangents(points, axis) for axis in (1, 0))
    normal = np.cross(along_y, along_x)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    known = np.isfinite(length) & (length > 0)
    return np.where(known, normal / np.where(known, length, 1), 0).astype(np.float32)


def _tangents(points: np.ndarray, axis: int) -> np.ndarray:
    """Difference of the points on either side; NaN across an edge and at the border."""
    after, before = np.roll(points, -STEP_PX, axis), np.roll(points, STEP_PX, axis)
    tangents = after - before
    tangents[np.abs(tangents[..., 2]) > EDGE_M] = np.nan
    border = [slice(None)] * 2
    for border[axis] in (slice(None, STEP_PX), slice(-STEP_PX, None)):
        tangents[tuple(border)] = np.nan
    return tangents


def _stamp_ns(path: Path) -> int:
    seconds, dot, fraction = path.stem.partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9]) if dot else int(seconds)
