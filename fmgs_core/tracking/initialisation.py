"""A pose read straight off the detector's 3-D landmarks, for the first frame and after a loss.

It is 74 mm off where the solver reaches 51, but always in the right basin: hips and knees bend the right way.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

from fmgs_core.tracking.detection import Detection, rotation_between, unit
from fmgs_core.tracking.kinematics import NUM_JOINTS, BodyPose, Skeleton, posed_points
from fmgs_core.tracking.landmarks import LandmarkTable
from fmgs_core.tracking.so3 import exp_so3, log_so3
from fmgs_core.tracking.solver import LandmarkTerms

SPINE, NECK, HEAD = (3, 6, 9), 12, 15
# side sign, joints (collar, shoulder, elbow), landmarks (shoulder, elbow, wrist)
ARMS = ((1.0, (13, 16, 18), (11, 13, 15)), (-1.0, (14, 17, 19), (12, 14, 16)))
# joints (hip, knee, ankle), landmarks (hip, knee, ankle, heel, toe)
LEGS = (((1, 4, 7), (23, 25, 27, 29, 31)), ((2, 5, 8), (24, 26, 28, 30, 32)))

# Below these flexions [rad] the bending plane is noise and says nothing about the twist of the limb.
MIN_ELBOW_FLEXION, MIN_KNEE_FLEXION = 0.25, 0.45


def analytic_pose(detection: Detection, skeleton: Skeleton, table: LandmarkTable) -> Float[np.ndarray, "22 3 3"]:
    """Local rotations in camera axes from `detection.world`."""
    R = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    _set_trunk(R, detection.world)
    _set_head(R, detection.world, skeleton)
    for sign, joints, landmarks in ARMS:
        _set_arm(R, detection.world, skeleton, sign, joints, landmarks)
    for joints, landmarks in LEGS:
        _set_leg(R, detection.world, table, joints, landmarks)
    return R


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


def _set_trunk(R: Float[np.ndarray, "22 3 3"], world: Float[np.ndarray, "33 3"]) -> None:
    """Root from hip axis and trunk; the turn from hips to shoulders is shared by the three spine joints."""
    up = 0.5 * (world[11] + world[12] - world[23] - world[24])
    hips, shoulders = _frame(world[23] - world[24], up), _frame(world[11] - world[12], up)
    R[0] = hips
    for joint in SPINE:
        R[joint] = exp_so3(log_so3(hips.T @ shoulders) / 3)


def _set_head(R: Float[np.ndarray, "22 3 3"], world: Float[np.ndarray, "33 3"], skeleton: Skeleton) -> None:
    x = unit(world[7] - world[8])
    forward = world[0] - 0.5 * (world[7] + world[8])
    z = unit(forward - x * (forward @ x))
    turn = log_so3(_orientation(R, skeleton, SPINE[-1]).T @ np.stack([x, np.cross(z, x), z], 1))
    turn = _clipped(turn, 1.2)
    R[NECK], R[HEAD] = exp_so3(0.4 * turn), exp_so3(0.6 * turn)


def _set_arm(R, world, skeleton: Skeleton, sign: float, joints: tuple, landmarks: tuple) -> None:
    """Swing from a hanging arm, never from the T-pose: a half turn away from the T lies near real poses."""
    collar, shoulder, elbow = joints
    parent = _orientation(R, skeleton, collar)
    upper, lower = (parent.T @ unit(world[b] - world[a]) for a, b in pairwise(landmarks))
    rest = np.array([sign, 0.0, 0.0])
    hanging = exp_so3(np.array([0.0, 0.0, -1.2 * sign]))
    swing = rotation_between(hanging @ rest, upper) @ hanging
    x, y, z = swing.T @ lower
    flexion = np.arctan2(np.hypot(y, z), sign * x)
    if flexion > MIN_ELBOW_FLEXION:
        swing = swing @ exp_so3(np.array([np.arctan2(-y, z), 0.0, 0.0]))
    R[shoulder], R[elbow] = swing, exp_so3(np.array([0.0, -sign * flexion, 0.0]))


def _set_leg(R, world, table: LandmarkTable, joints: tuple, landmarks: tuple) -> None:
    """The knee's angle keeps its sign and is clipped: an unsigned one turns the shins outward in back views."""
    hip, knee, ankle = joints
    a, b, c, heel, toe = landmarks
    thigh, shin = (R[0].T @ unit(world[end] - world[start]) for start, end in ((a, b), (b, c)))
    swing = rotation_between(np.array([0.0, -1.0, 0.0]), thigh)
    x, y, z = swing.T @ shin
    flexion = np.arctan2(-z, -y)
    if np.hypot(x, z) > MIN_KNEE_FLEXION and z < 0.2:
        flexion = np.arctan2(np.hypot(x, z), -y)
        swing = swing @ exp_so3(np.array([0.0, np.clip(np.arctan2(-x, -z), -0.8, 0.8), 0.0]))
    R[hip], R[knee] = swing, exp_so3(np.array([max(0.0, flexion), 0.0, 0.0]))
    rest = unit(table.points.rest[table.row(toe)] - table.points.rest[table.row(heel)])
    foot = (R[0] @ R[hip] @ R[knee]).T @ unit(world[toe] - world[heel])
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
