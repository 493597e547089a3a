"""Where a keyframe lies in its frame, and what of a frame's maps is kept of it: the same when they come with it and later."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.priors import DeviceMaps
from fmgs_core.training.targets import KnownPixels, known_pixels
from fmgs_core.types import PriorMaps

CROP_MARGIN = 0.08  # of the person's box, so that the silhouette's outside is seen too
KINDS = ("normal", "depth", "labels")
LABEL_SETS = {"sapiens28": len(SAPIENS28_NAMES)}
"""Those that the avatar's scores are of, with their number of classes."""


@dataclass(frozen=True)
class Cut:
    """A rectangle of a frame, and the size it is shrunk to."""

    frame_size: tuple[int, int]
    """Width and height of the frame [px]."""
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in the frame [px]."""
    size: tuple[int, int]
    """Width and height of what comes out [px]."""

    @classmethod
    def around(cls, frame_size: tuple[int, int], box: tuple[int, int, int, int], max_px: int) -> "Cut":
        """Shrunk so that the longer side has at most max_px."""
        width, height = box[2] - box[0], box[3] - box[1]
        shrink = min(1.0, max_px / max(width, height))
        return cls(frame_size, box, (max(1, round(width * shrink)), max(1, round(height * shrink))))

    def of(self, picture: Shaped[np.ndarray, "h w *c"], *, smooth: bool) -> Shaped[np.ndarray, "h2 w2 *c"]:
        """The rectangle of a picture of the frame's size; averaged, or each pixel the value of one."""
        x0, y0, x1, y1 = self.box
        inside = picture[y0:y1, x0:x1]
        if (x1 - x0, y1 - y0) == self.size:
            return np.ascontiguousarray(inside)
        # INTER_NEAREST would take the top left of the pixels that fall into one, up to half a pixel beside its centre.
        return cv2.resize(inside, self.size, interpolation=cv2.INTER_AREA if smooth else cv2.INTER_NEAREST_EXACT)


def person_box(mask: Float[np.ndarray, "h w"], joints_px: Float[np.ndarray, "n 2"]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the mask and the body's joints together, with a margin, inside the picture."""
    height, width = mask.shape
    inside = mask > 0.5
    columns, rows = (np.flatnonzero(inside.any(axis))[[0, -1]] for axis in (0, 1)) if inside.any() else ([], [])
    corners = np.stack([columns, rows], -1).astype(float)
    points = np.concatenate([corners, joints_px[np.isfinite(joints_px).all(1)]])
    if not len(points):
        return 0, 0, width, height
    low, high = points.min(0), points.max(0) + 1
    pad = CROP_MARGIN * (high - low).max() + 4
    x0, y0 = np.clip(np.floor(low - pad), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(high + pad), (x0 + 1, y0 + 1), (width, height)).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


@dataclass(frozen=True)
class KnownMaps:
    """What a prior says of one keyframe beside its mask. What it does not say is None."""

    normal: KnownPixels | None
    """Half precision, finer than any prior is right: a memory of a hundred keyframes should not take a gigabyte."""
    depth: KnownPixels | None
    """Single precision: its unit is unknown, and half precision ends at 65 thousand."""
    labels: KnownPixels | None
    """uint8."""

    def __bool__(self) -> bool:
        return not (self.normal is None and self.depth is None and self.labels is None)

    def under(self, other: "KnownMaps") -> "KnownMaps":
        """These, and kind by kind those of `other` where it has any."""
        return KnownMaps(**{kind: getattr(other, kind) or getattr(self, kind) for kind in KINDS})

    def at_least(self, trusts: Mapping[str, float]) -> "KnownMaps":
        """Without those that are trusted less than their kind asks for."""
        kept = {kind: getattr(self, kind) for kind in KINDS}
        return KnownMaps(**{k: m if m is None or m.trust >= trusts.get(k, 0.0) else None for k, m in kept.items()})


def known_maps(
    maps: PriorMaps,
    cut: Cut,
    person: Bool[np.ndarray, "h w"],
    device: str | torch.device = "cpu",
    num_classes: int = len(SAPIENS28_NAMES),
) -> KnownMaps:
    """Normals, depth and labels of a cut, where the person is and the prior knows.

    Args:
        maps: of the frame's size. Labels of num_classes and above count as unknown.
        person: of the cut's size.

    Raises:
        ValueError: a map of another size than the frame, or labels of a set that the avatar does not know.
    """
    check_maps(maps, cut.frame_size)
    normal, depth, labels = (None if x is None else cut.of(x, smooth=False) for x in (maps.normal, maps.depth, maps.labels))
    where = device, maps.geometry_trust
    return KnownMaps(
        normal=None if normal is None else known_pixels(normal.astype(np.float16), person & _is_normal(normal), *where),
        depth=None if depth is None else known_pixels(depth.astype(np.float32), person & np.isfinite(depth), *where),
        labels=None if labels is None else known_pixels(labels, person & (labels < num_classes), *where),
    )


def check_maps(maps: PriorMaps | DeviceMaps, frame_size: tuple[int, int]) -> None:
    """
    Raises:
        ValueError: normals, depth or labels of another size (width, height) than the frame, or of an unknown set.
    """
    width, height = frame_size
    for name in KINDS:
        value = getattr(maps, name)
        if value is not None and value.shape[:2] != (height, width):
            got = f"{value.shape[1]} x {value.shape[0]}"
            raise ValueError(f"PriorMaps.{name}: expected the frame's size, {width} x {height}, got {got}")
    if maps.labels is not None and maps.label_set not in LABEL_SETS:
        known = ", ".join(LABEL_SETS)
        raise ValueError(f"PriorMaps.label_set: expected one of {known}, got {maps.label_set!r}")


def _is_normal(normal: Float[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Zeros mark the unknown. Channel by channel: a sum over an axis of three takes numpy ten times as long."""
    x, y, z = (normal[..., i].astype(np.float32) for i in range(3))
    return x * x + y * y + z * z > 0.25
