"""Named landmark lists: which row of a detector's list is which point of the person, and one list's depth for another.

Only points that are used somewhere are named. Sources: MediaPipe's list of pose landmarks; COCO; COCO-WholeBody (17 body, 6
feet, 68 face, then 21 a hand from the wrist on, index and little finger's knuckles fifth and seventeenth); of the 308 that
Sapiens was trained on the first 70, which are body, feet, right hand, left hand (each finger from the tip on, the knuckle
"third joint" last, then the wrist) and marks of arms and neck.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from fmgs_core.types import Keypoints

_COCO_PAIRS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")

# Two detectors mean the same limb when their points are nearer to each other than this share of the person's extent. Flipped
# sides are 0.1 and more apart unless the person is seen in profile, where they do not matter.
SAME_POINT = 0.05


@dataclass(frozen=True)
class KeypointLayout:
    """A detector's list of landmarks."""

    name: str
    count: int
    rows: Mapping[str, int]
    """Row by the name of the point; "left_" and "right_" are the person's."""


def _sides(first: Mapping[str, int], step: int) -> dict[str, int]:
    """Rows of both sides, the right one `step` after the left."""
    return {f"{side}_{name}": row + k * step for name, row in first.items() for k, side in enumerate(("left", "right"))}


_MEDIAPIPE = {"ear": 7, "shoulder": 11, "elbow": 13, "wrist": 15, "pinky": 17, "index": 19,
              "hip": 23, "knee": 25, "ankle": 27, "heel": 29, "toe": 31}  # fmt: skip
_COCO = {"nose": 0, **_sides({name: 2 * k + 1 for k, name in enumerate(_COCO_PAIRS)}, 1)}
_FEET = {"toe": 0, "small_toe": 1, "heel": 2}
_WHOLEBODY_FEET = _sides({name: 17 + k for name, k in _FEET.items()}, 3)
_WHOLEBODY_HANDS = _sides({"index": 91 + 5, "pinky": 91 + 17}, 21)
_SAPIENS_BODY = dict(zip(_COCO, (*range(9), 62, 41, *range(9, 15)), strict=True))
_SAPIENS_FEET = _sides({name: 15 + k for name, k in _FEET.items()}, 3)
_SAPIENS_HANDS = _sides({"index": 49, "pinky": 61}, -21)

LAYOUTS: Mapping[str, KeypointLayout] = {
    layout.name: layout
    for layout in (
        KeypointLayout("mediapipe33", 33, {"nose": 0, "left_eye": 2, "right_eye": 5, **_sides(_MEDIAPIPE, 1)}),
        KeypointLayout("coco17", 17, _COCO),
        KeypointLayout("coco_wholebody133", 133, {**_COCO, **_WHOLEBODY_FEET, **_WHOLEBODY_HANDS}),
        KeypointLayout("sapiens308", 308, {**_SAPIENS_BODY, **_SAPIENS_FEET, **_SAPIENS_HANDS}),
    )
}


def layout_of(keypoints: Keypoints) -> KeypointLayout:
    """The layout that the keypoints name.

    Raises:
        ValueError: it is unknown, or the arrays have not its number of rows.
    """
    layout = LAYOUTS.get(keypoints.layout)
    if layout is None:
        raise ValueError(f"keypoints.layout: expected one of {sorted(LAYOUTS)}, got {keypoints.layout!r}")
    for name, array in (("points", keypoints.points), ("points_3d", keypoints.points_3d)):
        if array is not None and array.shape != (layout.count, 3):
            raise ValueError(f"keypoints.{name}: expected ({layout.count}, 3) in layout {layout.name!r}, got {array.shape}")
    return layout


def with_depth_of(keypoints: Keypoints, donor: Keypoints) -> Keypoints:
    """The same points, with the donor's 3-D where the two see the same point of the person in the same place.

    Elsewhere points_3d is NaN: who sees a limb, or a side, somewhere else says nothing about its depth. Keypoints with a 3-D of
    their own come back as they are, and so do those that meet a donor without one. Poor as a detector's 3-D is, it tells
    whether an arm is in front of the body or behind it, which the picture's points alone do not.
    """
    layout, giver = layout_of(keypoints), layout_of(donor)
    if keypoints.points_3d is not None or donor.points_3d is None:
        return keypoints
    shared = [name for name in layout.rows if name in giver.rows]
    to, of = ([rows[name] for name in shared] for rows in (layout.rows, giver.rows))
    apart = np.linalg.norm(keypoints.points[to, :2] - donor.points[of, :2], axis=1)
    same = apart < SAME_POINT * _extent_px(donor.points[of, :2])  # NaN compares false
    points_3d = np.full((layout.count, 3), np.nan)
    points_3d[to] = np.where(same[:, None], donor.points_3d[of], np.nan)
    return replace(keypoints, points_3d=points_3d)


def _extent_px(points: Float[np.ndarray, "n 2"]) -> float:
    """Diagonal of the points' box; 0 when none is finite."""
    finite = points[np.isfinite(points).all(1)]
    return float(np.linalg.norm(np.ptp(finite, axis=0))) if len(finite) else 0.0
