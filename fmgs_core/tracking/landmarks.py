"""Where MediaPipe's 33 landmarks sit on the body: vertices or joints plus fitted offsets.

MediaPipe's "hip" is not the hip joint, its "ear" not the ear vertex. The offsets were fitted by least squares on rendered
people of three statures (they agree within 10 mm) and lower the reprojection error from 2-6 px to 1-2 px; without them the
betas absorb the hip offset and the body turns pear-shaped. Vertex ids are those of the default body, which SMPL-X shares.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.kinematics import RiderPoints, owning_joints

LAYOUT = "mediapipe33"
NUM_DETECTED = 33

# name: MediaPipe index, vertex id or joint name, joint that carries it, offset from it in the rest pose [mm]
_MIDDLE = {"nose": (0, 9120, "head", (0, 2, -18))}
_LEFT = {
    "eye": (2, 9448, "head", (-3, -7, -15)),
    "ear": (7, 6, "head", (-34, -13, 44)),
    "shoulder": (11, "left_shoulder", "left_shoulder", (-10, 2, 1)),
    "elbow": (13, "left_elbow", "left_elbow", (-5, 3, 9)),
    "wrist": (15, "left_wrist", "left_wrist", (11, -3, -1)),
    "pinky": (17, "left_pinky1", "left_wrist", (-4, -7, 30)),
    "index": (19, "left_index1", "left_wrist", (-24, -19, -20)),
    "hip": (23, "left_hip", "left_hip", (-11, -33, 25)),
    "knee": (25, "left_knee", "left_knee", (-5, -22, 1)),
    "ankle": (27, "left_ankle", "left_ankle", (-2, 23, 5)),
    "heel": (29, 8846, "left_ankle", (-2, 3, 22)),
    "toe": (31, 5770, "left_ankle", (20, 7, -23)),
}
# Rows of the table: left heel, right heel, left toe, right toe.
SOLE_ROWS = slice(-4, None)
_RIGHT_VERTEX = {"eye": 9929, "ear": 616, "heel": 8635, "toe": 8463}
_RIGHT_INDEX = {"eye": 5}  # elsewhere left + 1

# Weight of a landmark beside its visibility: the finger tips and soles jitter, hips and shoulders are loosely defined. Along
# a straight leg MediaPipe puts the knee where people of average build have it: 49 mm low on a body of 1.50 m, 27 mm high
# on one of 2.17 m; at full weight the distance bends to fit that.
SOLE_WEIGHT = 0.4
_WEIGHTS = {
    "knee": 0.3,
    **dict.fromkeys(("nose", "eye", "ear"), 0.5),
    **dict.fromkeys(("pinky", "index"), 0.4),
    **dict.fromkeys(("heel", "toe"), SOLE_WEIGHT),
    **dict.fromkeys(("shoulder", "hip"), 0.7),
}

# from, to, sigma of the unit direction: what MediaPipe's 3-D landmarks were measured to be worth
_BONES = (
    (11, 13, 0.12), (12, 14, 0.12),  # upper arms
    (13, 15, 0.25), (14, 16, 0.25),  # forearms
    (23, 25, 0.13), (24, 26, 0.13),  # thighs
    (25, 27, 0.18), (26, 28, 0.18),  # shins
    (11, 12, 0.30), (23, 24, 0.30),  # shoulder and hip axes
    (23, 11, 0.20), (24, 12, 0.20),  # sides of the trunk
    (29, 31, 0.28), (30, 32, 0.28),  # feet
    (15, 19, 0.50), (16, 20, 0.50),  # hands
    (8, 7, 0.45), (7, 0, 0.45), (8, 0, 0.45),  # head
)  # fmt: skip

# Left <-> right among MediaPipe's 33: nose, (1-3, 4-6) eyes, then pairs.
MIRRORED = np.array([0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9] + [i + 1 if i % 2 else i - 1 for i in range(11, 33)])


@dataclass(frozen=True, eq=False)
class LandmarkTable:
    """The landmarks that are fitted (25 of the 33) on one body."""

    detected: Int[np.ndarray, " L"]
    """Index into the detector's 33."""
    points: RiderPoints
    weights: Float[np.ndarray, " L"]
    bones: Int[np.ndarray, "K 2"]
    """Rows of this table: from, to."""
    bones_detected: Int[np.ndarray, "K 2"]
    """The same as indices into the detector's 33."""
    bone_sigmas: Float[np.ndarray, " K"]

    def row(self, detected: int) -> int:
        return int(np.flatnonzero(self.detected == detected)[0])


def landmark_table(body: BodyModel, num_betas: int) -> LandmarkTable:
    """Raises ValueError when the body is not known to have its nose, ears, heels and toes at the table's vertices."""
    _check_body(body)
    rows = [(name, *entry) for name, entry in _MIDDLE.items()]
    for name, entry in _LEFT.items():
        rows += [(name, *entry), (name, *_right_of(name, entry))]
    detected = np.array([row[1] for row in rows])
    position = {int(index): i for i, index in enumerate(detected)}
    return LandmarkTable(
        detected=detected,
        points=_rider_points(body, [row[2:] for row in rows], num_betas),
        weights=np.array([_WEIGHTS.get(row[0], 1.0) for row in rows]),
        bones=np.array([(position[a], position[b]) for a, b, _ in _BONES]),
        bones_detected=np.array([(a, b) for a, b, _ in _BONES]),
        bone_sigmas=np.array([sigma for _, _, sigma in _BONES]),
    )


def _right_of(name: str, entry: tuple) -> tuple:
    index, anchor, owner, (x, y, z) = entry
    anchor = _RIGHT_VERTEX[name] if name in _RIGHT_VERTEX else anchor.replace("left_", "right_")
    return _RIGHT_INDEX.get(name, index + 1), anchor, owner.replace("left_", "right_"), (-x, y, z)


def _rider_points(body: BodyModel, rows: list[tuple], num_betas: int) -> RiderPoints:
    owners = owning_joints(body.parents)
    anchors = [_anchor(body, anchor, num_betas) for anchor, _, _ in rows]
    offsets = 1e-3 * np.array([offset for _, _, offset in rows], dtype=np.float64)
    # The offsets grow with the body, and beta 0 is its size.
    directions = np.stack([dirs for _, dirs in anchors])
    directions[:, :, 0] += _growth(body) * offsets
    joints = np.zeros((len(rows), 4), dtype=np.int64)
    joints[:, 0] = [owners[body.joint_names.index(owner)] for _, owner, _ in rows]
    weights = np.zeros((len(rows), 4))
    weights[:, 0] = 1.0
    return RiderPoints(np.stack([rest for rest, _ in anchors]) + offsets, directions, joints, weights)


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
    anchors = {entry[1] for entry in _LEFT.values() if isinstance(entry[1], str)} | {"head"}
    missing = sorted(anchors - set(body.joint_names))
    expected = f"body {body.name!r}: expected the default body or SMPL-X, to whose vertices the MediaPipe landmarks are tied"
    if missing:
        raise ValueError(f"{expected}; got a body without the joints {missing}")
    ids = [9120, 9448, 9929, 6, 616, 8846, 8635, 5770, 8463]
    if body.num_vertices <= max(ids):
        raise ValueError(f"{expected}; got a body of {body.num_vertices} vertices")
    nose, eye, eye_right, ear, ear_right, heel, heel_right, toe, toe_right = body.v_template[ids]
    mirror = np.array([-1.0, 1.0, 1.0])
    pairs = ((eye, eye_right), (ear, ear_right), (heel, heel_right), (toe, toe_right))
    symmetric = all(np.linalg.norm(left * mirror - right) < 0.02 for left, right in pairs) and abs(nose[0]) < 0.02
    placed = ear[0] > eye[0] > 0 and nose[2] > eye[2] > ear[2] and toe[2] - heel[2] > 0.15 and eye[1] - heel[1] > 1.0
    if not (symmetric and placed):
        raise ValueError(f"{expected}; got one whose vertices {ids} are not nose, eyes, ears, heels and toes")
