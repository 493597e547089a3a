"""Where a detector's landmarks sit on the body: vertices or joints, and how far the detector's idea of them lies beside.

MediaPipe's "hip" is not the hip joint, its "ear" not the ear vertex. Its offsets were fitted by least squares on rendered
people of three statures (they agree within 10 mm) and lower the reprojection error from 2-6 px to 1-2 px; without them the
betas absorb the hip offset and the body turns pear-shaped. Those of the COCO family are nominal, not fitted: limbs at the
joints' centres, face and feet at the vertices by which SMPLify-X ties such detections to SMPL-X. Vertex ids are those of the
default body, which SMPL-X shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.body.template import BodyModel
from fmgs_core.keypoints import LAYOUTS
from fmgs_core.tracking.kinematics import RiderPoints, owning_joints

MEDIAPIPE = "mediapipe33"

# name without its side: vertex id or joint name, joint that carries it; of the left side
_ANCHORS: Mapping[str, tuple[int | str, str]] = {
    "nose": (9120, "head"),
    "eye": (9448, "head"),
    "ear": (6, "head"),
    "shoulder": ("left_shoulder", "left_shoulder"),
    "elbow": ("left_elbow", "left_elbow"),
    "wrist": ("left_wrist", "left_wrist"),
    "pinky": ("left_pinky1", "left_wrist"),
    "index": ("left_index1", "left_wrist"),
    "hip": ("left_hip", "left_hip"),
    "knee": ("left_knee", "left_knee"),
    "ankle": ("left_ankle", "left_ankle"),
    "heel": (8846, "left_ankle"),
    "toe": (5770, "left_ankle"),
    "small_toe": (5780, "left_ankle"),
}
_RIGHT_VERTEX = {"eye": 9929, "ear": 616, "heel": 8635, "toe": 8463, "small_toe": 8474}

# Where MediaPipe sees them, from the anchor, in the rest pose [mm]; left side.
_MEDIAPIPE_OFFSETS_MM = {
    "nose": (0, 2, -18),
    "eye": (-3, -7, -15),
    "ear": (-34, -13, 44),
    "shoulder": (-10, 2, 1),
    "elbow": (-5, 3, 9),
    "wrist": (11, -3, -1),
    "pinky": (-4, -7, 30),
    "index": (-24, -19, -20),
    "hip": (-11, -33, 25),
    "knee": (-5, -22, 1),
    "ankle": (-2, 23, 5),
    "heel": (-2, 3, 22),
    "toe": (20, 7, -23),
}

# Weight of a landmark beside its visibility: the finger tips and soles jitter, hips and shoulders are loosely defined. Along
# a straight leg MediaPipe puts the knee where people of average build have it: 49 mm low on a body of 1.50 m, 27 mm high
# on one of 2.17 m; at full weight the distance bends to fit that.
_MEDIAPIPE_KNEE_WEIGHT = 0.3
_WEIGHTS = {
    **dict.fromkeys(("nose", "eye", "ear"), 0.5),
    **dict.fromkeys(("pinky", "index", "heel", "toe", "small_toe"), 0.4),
    **dict.fromkeys(("shoulder", "hip"), 0.7),
}

# from, to (without sides: of both), sigma of the unit direction: what MediaPipe's 3-D landmarks were measured to be worth
_BONES = (
    ("shoulder", "elbow", 0.12),
    ("elbow", "wrist", 0.25),
    ("hip", "knee", 0.13),
    ("knee", "ankle", 0.18),
    ("left_shoulder", "right_shoulder", 0.30),
    ("left_hip", "right_hip", 0.30),
    ("hip", "shoulder", 0.20),
    ("heel", "toe", 0.28),
    ("wrist", "index", 0.50),
    ("right_ear", "left_ear", 0.45),
    ("left_ear", "nose", 0.45),
    ("right_ear", "nose", 0.45),
)


@dataclass(frozen=True, eq=False)
class LandmarkTable:
    """The landmarks of one layout that are fitted, on one body."""

    layout: str
    count: int
    """How many the detector gives."""
    names: tuple[str, ...]
    detected: Int[np.ndarray, " L"]
    """Row of the detector's list."""
    points: RiderPoints
    weights: Float[np.ndarray, " L"]
    mirrored: Int[np.ndarray, " L"]
    """Row of this table with the same landmark of the other side."""
    bones: Int[np.ndarray, "K 2"]
    """Rows of this table: from, to. Directions by which a detector's 3-D is used."""
    bone_sigmas: Float[np.ndarray, " K"]

    def row(self, name: str) -> int:
        """Raises ValueError when the layout has no such landmark."""
        return self.names.index(name)

    def rows(self, *names: str) -> list[int]:
        """Left and right of each name that the layout has, in the given order."""
        return [self.names.index(side + name) for name in names for side in ("left_", "right_") if side + name in self.names]

    @cached_property
    def trunk(self) -> list[int]:
        return self.rows("shoulder", "hip")

    @cached_property
    def main(self) -> list[int]:
        """What is visible of a person that is fully in the picture."""
        return self.rows("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

    @cached_property
    def below_hips(self) -> list[int]:
        return self.rows("knee", "ankle", "heel", "toe", "small_toe")


@lru_cache(maxsize=8)
def landmark_table(body: BodyModel, num_betas: int, layout: str = MEDIAPIPE) -> LandmarkTable:
    """Raises ValueError when the layout is unknown, or when the body is not known to have its nose, ears, heels and toes at
    the table's vertices."""
    if layout not in LAYOUTS:
        raise ValueError(f"landmark_table: expected one of the layouts {sorted(LAYOUTS)}, got {layout!r}")
    _check_body(body)
    of_detector = LAYOUTS[layout].rows
    names = tuple(name for name in _all_names() if name in of_detector)
    bones = [(names.index(a), names.index(b), sigma) for a, b, sigma in _both_sides() if a in names and b in names]
    return LandmarkTable(
        layout=layout,
        count=LAYOUTS[layout].count,
        names=names,
        detected=np.array([of_detector[name] for name in names]),
        points=_rider_points(body, names, layout, num_betas),
        weights=np.array([_weight(sideless(name), layout) for name in names]),
        mirrored=np.array([names.index(_other_side(name)) for name in names]),
        bones=np.array([(a, b) for a, b, _ in bones]),
        bone_sigmas=np.array([sigma for _, _, sigma in bones]),
    )


def sideless(name: str) -> str:
    return name.removeprefix("left_").removeprefix("right_")


def _all_names() -> list[str]:
    return ["nose"] + [side + name for name in _ANCHORS if name != "nose" for side in ("left_", "right_")]


def _other_side(name: str) -> str:
    return name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")


def _both_sides() -> list[tuple[str, str, float]]:
    bones = []
    for a, b, sigma in _BONES:
        sided = a.startswith(("left_", "right_"))
        bones += [(a, b, sigma)] if sided else [(side + a, side + b, sigma) for side in ("left_", "right_")]
    return bones


def _weight(name: str, layout: str) -> float:
    return _MEDIAPIPE_KNEE_WEIGHT if (name, layout) == ("knee", MEDIAPIPE) else _WEIGHTS.get(name, 1.0)


def _rider_points(body: BodyModel, names: tuple[str, ...], layout: str, num_betas: int) -> RiderPoints:
    owners = owning_joints(body.parents)
    placed = [_placed(name, layout) for name in names]
    anchors = [_anchor(body, anchor, num_betas) for anchor, _, _ in placed]
    offsets = 1e-3 * np.array([offset for _, _, offset in placed], dtype=np.float64)
    # The offsets grow with the body, and beta 0 is its size.
    directions = np.stack([dirs for _, dirs in anchors])
    directions[:, :, 0] += _growth(body) * offsets
    joints = np.zeros((len(names), 4), dtype=np.int64)
    joints[:, 0] = [owners[body.joint_names.index(owner)] for _, owner, _ in placed]
    weights = np.zeros((len(names), 4))
    weights[:, 0] = 1.0
    return RiderPoints(np.stack([rest for rest, _ in anchors]) + offsets, directions, joints, weights)


def _placed(name: str, layout: str) -> tuple[int | str, str, tuple[int, int, int]]:
    """Vertex or joint, owner, and offset from it [mm]."""
    bare = sideless(name)
    anchor, owner = _ANCHORS[bare]
    x, y, z = _MEDIAPIPE_OFFSETS_MM[bare] if layout == MEDIAPIPE else (0, 0, 0)
    if not name.startswith("right_"):
        return anchor, owner, (x, y, z)
    anchor = anchor.replace("left_", "right_") if isinstance(anchor, str) else _RIGHT_VERTEX[bare]
    return anchor, owner.replace("left_", "right_"), (-x, y, z)


def _growth(body: BodyModel) -> float:
    """Relative change of stature per unit of beta 0."""
    betas = np.zeros(body.shapedirs.shape[2], np.float32)
    average = body.height(betas)
    betas[0] = 1.0
    return body.height(betas) / average - 1


def _anchor(body: BodyModel, anchor: int | str, num_betas: int) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 B"]]:
    if isinstance(anchor, int):
        return body.v_template[anchor].astype(np.float64), body.shapedirs[anchor, :, :num_betas].astype(np.float64)
    row = body.J_regressor[body.joint_names.index(anchor)].astype(np.float64)
    directions = body.shapedirs[:, :, :num_betas].astype(np.float64)
    return (row @ body.v_template).ravel(), (row @ directions.reshape(len(directions), -1)).reshape(3, num_betas)


def _check_body(body: BodyModel) -> None:
    """The ids are checked against the geometry: a body with another vertex order must fail here, not track badly."""
    anchors = {anchor for anchor, _ in _ANCHORS.values() if isinstance(anchor, str)} | {"head"}
    missing = sorted(anchors - set(body.joint_names))
    expected = f"body {body.name!r}: expected the default body or SMPL-X, to whose vertices the landmarks are tied"
    if missing:
        raise ValueError(f"{expected}; got a body without the joints {missing}")
    ids = [9120, 9448, 9929, 6, 616, 8846, 8635, 5770, 8463, 5780, 8474]
    if body.num_vertices <= max(ids):
        raise ValueError(f"{expected}; got a body of {body.num_vertices} vertices")
    nose, eye, eye_right, ear, ear_right, heel, heel_right, toe, toe_right, small, small_right = body.v_template[ids]
    mirror = np.array([-1.0, 1.0, 1.0])
    pairs = ((eye, eye_right), (ear, ear_right), (heel, heel_right), (toe, toe_right), (small, small_right))
    symmetric = all(np.linalg.norm(left * mirror - right) < 0.02 for left, right in pairs) and abs(nose[0]) < 0.02
    placed = ear[0] > eye[0] > 0 and nose[2] > eye[2] > ear[2] and toe[2] - heel[2] > 0.15 and eye[1] - heel[1] > 1.0
    if not (symmetric and placed and small[0] - toe[0] > 0.04):
        raise ValueError(f"{expected}; got one whose vertices {ids} are not nose, eyes, ears, heels and toes")
