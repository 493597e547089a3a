"""Whether a model's normals and depth follow CONVENTIONS.md, found out on the person: against the body in the same pose."""

from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import cv2
import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from fmgs_core.priors import DeviceMaps
from fmgs_core.types import PriorMaps

Maps = TypeVar("Maps", bound=PriorMaps | DeviceMaps)
SIGNS = np.array(list(product((1, -1), repeat=3)), np.float32)
"""All sign patterns of x, y, z, the one that changes nothing first."""
CHECKED_MAPS = 3
LEAST_CORRELATION = 0.3
"""In absolute value: of normals, axis by axis, and of the ranks of depths, what tells a sign. The true normals of gt/dressed_a
reach 0.71 to 1.0 on every axis, its true depth 0.89 to 0.99."""
DOUBTFUL_DEG = 45.0
"""True normals differ by 9 to 13 degrees from the naked body's, those of a network by about 20."""
MIN_PIXELS = 200
MAX_RANKED = 4000
# The prediction's border is blurred across the outline, and where the surface turns away every prediction is at its worst.
ERODED_PX = 4
MIN_FACING = 0.5


@dataclass(frozen=True)
class ConventionCheck:
    """What the first maps of a model say about its axes. Angles and correlations are means over the maps."""

    maps: int
    """Compared so far."""
    signs: tuple[int, int, int] = (1, 1, 1)
    """The normals' x, y, z are multiplied by these to be camera axes."""
    normal_deg: float | None = None
    """Angle to the body's normals after that [degrees]; None without normals."""
    as_given_deg: float | None = None
    """The same without it."""
    depth_correlation: float | None = None
    """Of the depths' ranks with the body's, as given; None without depth."""

    @property
    def depth_is_reversed(self) -> bool:
        return self.depth_correlation is not None and self.depth_correlation < -LEAST_CORRELATION

    @property
    def changes(self) -> tuple[tuple[int, int, int], bool]:
        return self.signs, self.depth_is_reversed

    def applied(self, maps: Maps) -> Maps:
        """Maps by our conventions."""
        normal, depth = maps.normal, maps.depth
        if normal is not None and self.signs != (1, 1, 1):
            normal = normal * (
                normal.new_tensor(self.signs) if isinstance(normal, Tensor) else np.array(self.signs, np.float32)
            )
        if depth is not None and self.depth_is_reversed:
            depth = -depth
        return replace(maps, normal=normal, depth=depth)

    def doubts(self) -> list[str]:
        """What a person should look into."""
        found = []
        if self.signs != (1, 1, 1):
            found.append(f"normals agree with the body to {self.normal_deg:.0f} degrees with the signs {self.signs} of x, y, z,"
                         f" and to {self.as_given_deg:.0f} as they come: the signs are changed")  # fmt: skip
        if self.normal_deg is not None and self.normal_deg > DOUBTFUL_DEG:
            found.append(f"normals are {self.normal_deg:.0f} degrees from the body's whatever their signs")
        if self.depth_is_reversed:
            found.append(f"depths are larger where the body is nearer (rank correlation {self.depth_correlation:.2f}):"
                         " their order is turned round")  # fmt: skip
        elif self.depth_correlation is not None and self.depth_correlation < LEAST_CORRELATION:
            found.append(f"depths hardly follow the body's (rank correlation {self.depth_correlation:.2f})")
        return found


class Conventions:
    """Collects evidence from the first maps of a model."""

    def __init__(self):
        self._angles: list[Float[np.ndarray, "8"]] = []
        self._axes: list[Float[np.ndarray, "3"]] = []
        self._correlations: list[float] = []
        self._maps = 0
        self.check = ConventionCheck(0)

    @property
    def settled(self) -> bool:
        return self._maps >= CHECKED_MAPS

    def compare(self, maps: PriorMaps, body: PriorMaps) -> None:
        """Takes one frame's maps and those of the body in the same pose into account."""
        where = _comparable(body)
        self._maps += 1
        if maps.normal is not None:
            self._compare_normals(maps.normal, body.normal, where)
        if maps.depth is not None and (correlation := _rank_correlation(maps.depth, body.depth, where)) is not None:
            self._correlations.append(correlation)
        self.check = self._judged()

    def _compare_normals(
        self, normal: Float[np.ndarray, "h w 3"], body: Float[np.ndarray, "h w 3"] | None, where: Bool[np.ndarray, "h w"]
    ) -> None:
        assert body is not None
        known = where & (np.abs(normal).sum(-1) > 0.5)
        if known.sum() < MIN_PIXELS:
            return
        a, b = normal[known], body[known]
        self._axes.append((a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0)).clip(1e-9))
        self._angles.append(np.degrees(np.arccos(((a * b) @ SIGNS.T).clip(-1, 1))).mean(0))

    def _judged(self) -> ConventionCheck:
        check = ConventionCheck(self._maps)
        if self._correlations:
            check = replace(check, depth_correlation=float(np.mean(self._correlations)))
        if not self._angles:
            return check
        angles, turned = np.mean(self._angles, 0), np.mean(self._axes, 0) < -LEAST_CORRELATION
        pattern = int(turned @ (4, 2, 1))  # the row of SIGNS
        x, y, z = SIGNS[pattern].astype(int).tolist()
        return replace(check, signs=(x, y, z), normal_deg=float(angles[pattern]), as_given_deg=float(angles[0]))


def _comparable(body: PriorMaps) -> Bool[np.ndarray, "h w"]:
    """Where the body is seen, not near its outline and not from the side."""
    assert body.normal is not None
    inside = cv2.erode((body.normal[..., 2] < 0).astype(np.uint8), np.ones((2 * ERODED_PX + 1,) * 2, np.uint8))
    return (inside > 0) & (body.normal[..., 2] < -MIN_FACING)


def _rank_correlation(
    depth: Float[np.ndarray, "h w"], body: Float[np.ndarray, "h w"] | None, where: Bool[np.ndarray, "h w"]
) -> float | None:
    """Spearman's, over evenly chosen pixels; None where too little is known or all is equally deep."""
    assert body is not None
    known = where & np.isfinite(depth) & np.isfinite(body)
    a, b = depth[known], body[known]
    every = max(1, len(a) // MAX_RANKED)
    a, b = a[::every], b[::every]
    if len(a) < MIN_PIXELS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])
