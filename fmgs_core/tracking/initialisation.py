"""A pose read straight off the detector's 3-D landmarks, for the first frame and after a loss.

It is 74 mm off where the solver reaches 51, but always in the right basin: hips and knees bend the right way. Of a detector
without 3-D several are read, one for each way that the person may face: in the picture the sides' order and width tell only
how far somebody is turned, and not which way; face and feet tell that to the solver.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from fmgs_core.tracking.detection import Detection, rotation_between, unit
from fmgs_core.tracking.kinematics import NUM_JOINTS, BodyPose, Skeleton, posed_points
from fmgs_core.tracking.so3 import exp_so3, log_so3
from fmgs_core.tracking.solver import Anatomy, LandmarkTerms

SPINE, NECK, HEAD = (3, 6, 9), 12, 15
# side, its sign, joints (collar, shoulder, elbow)
ARMS = (("left_", 1.0, (13, 16, 18)), ("right_", -1.0, (14, 17, 19)))
# side, joints (hip, knee, ankle)
LEGS = (("left_", (1, 4, 7)), ("right_", (2, 5, 8)))
# Ways that a person of whom no depth is known may face; the solver finds its way from a neighbouring one.
NUM_TURNS = 8

# Below these flexions [rad] the bending plane is noise and says nothing about the twist of the limb.
MIN_ELBOW_FLEXION, MIN_KNEE_FLEXION = 0.25, 0.45


def analytic_pose(detection: Detection, skeleton: Skeleton) -> Float[np.ndarray, "22 3 3"]:
    """Local rotations in camera axes from `detection.world`."""
    R = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    _set_trunk(R, detection)
    _set_head(R, detection, skeleton)
    for side, sign, joints in ARMS:
        _set_arm(R, detection, skeleton, side, sign, joints)
    for side, joints in LEGS:
        _set_leg(R, detection, side, joints)
    return R


def lifted(
    detection: Detection,
    skeleton: Skeleton,
    anatomy: Anatomy,
    betas: Float[np.ndarray, " B"],
    intrinsics: tuple[float, float, float, float],
) -> list[Detection]:
    """The detection with the depth that a standing body turned by 0, 45, ... degrees would give its landmarks; those that were
    not seen are where such a body has them."""
    fx, fy, cx, cy = intrinsics
    seen = detection.visibility > 0
    picture = (detection.pixels - (cx, cy)) / (fx, fy)
    picture -= picture[seen].mean(0)
    out = []
    for k in range(NUM_TURNS):
        standing = _standing(detection, skeleton, anatomy, betas, 2 * np.pi * k / NUM_TURNS)
        standing -= standing[seen].mean(0)
        world = standing.copy()
        world[seen, :2] = picture[seen] * np.linalg.norm(standing[seen, :2]) / (np.linalg.norm(picture[seen]) + 1e-12)
        out.append(replace(detection, world=world, solid=np.ones(len(world), bool)))
    return out


def _standing(
    detection: Detection, skeleton: Skeleton, anatomy: Anatomy, betas: Float[np.ndarray, " B"], turn_rad: float
) -> Float[np.ndarray, "L 3"]:
    """Landmarks of an upright body with hanging arms, in camera axes."""
    rotations = np.stack([exp_so3(mean) for mean in anatomy.means])
    rotations[0] = np.diag([1.0, -1.0, -1.0]) @ exp_so3(np.array([0.0, turn_rad, 0.0]))
    return posed_points(detection.table.points, skeleton, BodyPose(rotations, np.zeros(3), betas))


def initial_translation(
    rotations: Float[np.ndarray, "22 3 3"],
    betas: Float[np.ndarray, " B"],
    skeleton: Skeleton,
    terms: LandmarkTerms,
    intrinsics: tuple[float, float, float, float],
) -> Float[np.ndarray, "3"]:
    """Weighted least squares of f (x + tx) = (u - cx) (z + tz), which is linear in the translation."""
    fx, fy, cx, cy = intrinsics
    p = posed_points(terms.points, skeleton, BodyPose(rotations, np.zeros(3), betas))
    u, v, w = terms.targets[:, 0] - cx, terms.targets[:, 1] - cy, terms.weights
    zero = np.zeros_like(w)
    A = np.concatenate([np.stack([w * fx, zero, -w * u], 1), np.stack([zero, w * fy, -w * v], 1)])
    b = np.concatenate([w * (u * p[:, 2] - fx * p[:, 0]), w * (v * p[:, 2] - fy * p[:, 1])])
    return np.linalg.lstsq(A, b, rcond=None)[0]


def _at(detection: Detection, name: str) -> Float[np.ndarray, "3"]:
    return detection.world[detection.table.row(name)]


def _set_trunk(R: Float[np.ndarray, "22 3 3"], detection: Detection) -> None:
    """Root from hip axis and trunk; the turn from hips to shoulders is shared by the three spine joints."""
    left_shoulder, right_shoulder, left_hip, right_hip = detection.world[detection.table.trunk]
    up = 0.5 * (left_shoulder + right_shoulder - left_hip - right_hip)
    hips, shoulders = _frame(left_hip - right_hip, up), _frame(left_shoulder - right_shoulder, up)
    R[0] = hips
    for joint in SPINE:
        R[joint] = exp_so3(log_so3(hips.T @ shoulders) / 3)


def _set_head(R: Float[np.ndarray, "22 3 3"], detection: Detection, skeleton: Skeleton) -> None:
    left, right = _at(detection, "left_ear"), _at(detection, "right_ear")
    x = unit(left - right)
    forward = _at(detection, "nose") - 0.5 * (left + right)
    z = unit(forward - x * (forward @ x))
    turn = log_so3(_orientation(R, skeleton, SPINE[-1]).T @ np.stack([x, np.cross(z, x), z], 1))
    turn = _clipped(turn, 1.2)
    R[NECK], R[HEAD] = exp_so3(0.4 * turn), exp_so3(0.6 * turn)


def _set_arm(R, detection: Detection, skeleton: Skeleton, side: str, sign: float, joints: tuple) -> None:
    """Swing from a hanging arm, never from the T-pose: a half turn away from the T lies near real poses."""
    collar, shoulder, elbow = joints
    parent = _orientation(R, skeleton, collar)
    chain = [_at(detection, side + name) for name in ("shoulder", "elbow", "wrist")]
    upper, lower = (parent.T @ unit(b - a) for a, b in pairwise(chain))
    rest = np.array([sign, 0.0, 0.0])
    hanging = exp_so3(np.array([0.0, 0.0, -1.2 * sign]))
    swing = rotation_between(hanging @ rest, upper) @ hanging
    x, y, z = swing.T @ lower
    flexion = np.arctan2(np.hypot(y, z), sign * x)
    if flexion > MIN_ELBOW_FLEXION:
        swing = swing @ exp_so3(np.array([np.arctan2(-y, z), 0.0, 0.0]))
    R[shoulder], R[elbow] = swing, exp_so3(np.array([0.0, -sign * flexion, 0.0]))


def _set_leg(R, detection: Detection, side: str, joints: tuple) -> None:
    """The knee's angle keeps its sign and is clipped: an unsigned one turns the shins outward in back views."""
    hip, knee, ankle = joints
    chain = [_at(detection, side + name) for name in ("hip", "knee", "ankle")]
    thigh, shin = (R[0].T @ unit(b - a) for a, b in pairwise(chain))
    swing = rotation_between(np.array([0.0, -1.0, 0.0]), thigh)
    x, y, z = swing.T @ shin
    flexion = np.arctan2(-z, -y)
    if np.hypot(x, z) > MIN_KNEE_FLEXION and z < 0.2:
        flexion = np.arctan2(np.hypot(x, z), -y)
        swing = swing @ exp_so3(np.array([0.0, np.clip(np.arctan2(-x, -z), -0.8, 0.8), 0.0]))
    R[hip], R[knee] = swing, exp_so3(np.array([max(0.0, flexion), 0.0, 0.0]))
    table = detection.table
    if side + "heel" in table.names:
        heel, toe = table.row(side + "heel"), table.row(side + "toe")
        rest = unit(table.points.rest[toe] - table.points.rest[heel])
        foot = (R[0] @ R[hip] @ R[knee]).T @ unit(detection.world[toe] - detection.world[heel])
        R[ankle] = exp_so3(_clipped(log_so3(rotation_between(rest, foot)), 0.6))


def _orientation(R: Float[np.ndarray, "22 3 3"], skeleton: Skeleton, joint: int) -> Float[np.ndarray, "3 3"]:
    G = np.eye(3)
    while joint >= 0:
        G, joint = R[joint] @ G, int(skeleton.parents[joint])
    return G


def _frame(x: Float[np.ndarray, "3"], y: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """Columns x, y, z by Gram-Schmidt; y keeps its direction."""
    y = unit(y)
    x = unit(x - y * (x @ y))
    return np.stack([x, y, np.cross(x, y)], 1)


def _clipped(v: Float[np.ndarray, "3"], longest: float) -> Float[np.ndarray, "3"]:
    return v * min(1.0, longest / (np.linalg.norm(v) + 1e-9))
