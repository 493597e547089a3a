"""The last two poses in the world frame, and what they predict for a camera that may itself have moved."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fmgs_core.geometry import rigid_inverse
from fmgs_core.tracking.kinematics import BodyPose, Skeleton
from fmgs_core.tracking.so3 import exp_so3, log_so3
from fmgs_core.tracking.solver import Prediction
from fmgs_core.types import Camera

# The temporal sigmas were tuned at this rate; longer gaps widen them like a random walk. After STALE_S nothing is predicted.
REFERENCE_HZ, MIN_STEPS, MAX_STEPS, STALE_S = 15.0, 0.25, 8.0, 1.0
# Share of the last turn that is expected to go on. Little of it is right: people stop; a turn of the whole body goes on.
TURN_SHARE, ROOT_TURN_SHARE = 0.1, 0.8
ROTATION_SIGMA_RAD, TRANSL_SIGMA_AT_3M = 0.26, np.array([0.02, 0.02, 0.05])
# Multiples of ROTATION_SIGMA_RAD by SMPL joint: arms and ankles move most, spine, collars and toes least.
JOINT_AGILITY = np.ones(22)
JOINT_AGILITY[[16, 17, 18, 19, 20, 21, 7, 8]] = 2.0
JOINT_AGILITY[[1, 2, 4, 5]] = 1.5
JOINT_AGILITY[[3, 6, 9, 13, 14, 10, 11]] = 0.6


@dataclass(frozen=True, eq=False)
class _Past:
    rotations: Float[np.ndarray, "22 3 3"]
    """Relative to the parent; the root's in the world."""
    root: Float[np.ndarray, "3"]
    """Position of joint 0 in the world [m]."""
    stamp_ns: int


class MotionHistory:
    """Empty until the first `push`."""

    def __init__(self, skeleton: Skeleton, smoothness: float):
        self._skeleton, self._smoothness = skeleton, smoothness
        self.clear()

    def clear(self) -> None:
        self._last: _Past | None = None
        self._before: _Past | None = None

    @property
    def empty(self) -> bool:
        return self._last is None

    def push(self, pose: BodyPose, camera: Camera, stamp_ns: int) -> None:
        rotations, root = world_pose(pose, self._skeleton, camera)
        self._before, self._last = self._last, _Past(rotations, root, stamp_ns)

    def steps(self, stamp_ns: int) -> float:
        """Frames of the reference rate since the last pose; clocks that stand still or jump back count as one."""
        if self._last is None or stamp_ns <= self._last.stamp_ns:
            return 1.0
        return float(np.clip((stamp_ns - self._last.stamp_ns) * 1e-9 * REFERENCE_HZ, MIN_STEPS, MAX_STEPS))

    def drop_if_stale(self, stamp_ns: int) -> None:
        if self._last is not None and abs(stamp_ns - self._last.stamp_ns) > STALE_S * 1e9:
            self.clear()

    def predicted(
        self, camera: Camera, stamp_ns: int, betas: Float[np.ndarray, " B"], root_share: float = TURN_SHARE
    ) -> BodyPose:
        """Pose in the axes of `camera`. Raises ValueError when empty."""
        if self._last is None:
            raise ValueError("MotionHistory.predicted: expected at least one pushed pose, got none")
        rotations, root = self._last.rotations.copy(), self._last.root.copy()
        if self._before is not None:
            ratio = self.steps(stamp_ns) / _steps_between(self._before, self._last)
            for j in range(len(rotations)):
                share = ratio * (root_share if j == 0 else TURN_SHARE)
                rotations[j] = rotations[j] @ exp_so3(share * log_so3(self._before.rotations[j].T @ rotations[j]))
            root += ratio * TURN_SHARE * (root - self._before.root)
        T = camera.T_camera_world
        rotations[0] = T[:3, :3] @ rotations[0]
        rest_root = self._skeleton.joints[0] + self._skeleton.joint_dirs[0] @ betas
        return BodyPose(rotations, T[:3, :3] @ root + T[:3, 3] - rest_root, betas.copy())

    def prediction(self, predicted: BodyPose, stamp_ns: int) -> Prediction:
        """The solver's temporal terms around a predicted pose."""
        spread = np.sqrt(self.steps(stamp_ns)) / self._smoothness
        distance = max(predicted.transl[2], 0.1) / 3.0
        return Prediction(
            predicted.rotations,
            predicted.transl,
            spread * ROTATION_SIGMA_RAD * JOINT_AGILITY,
            spread * distance * TRANSL_SIGMA_AT_3M,
        )


def no_prediction(pose: BodyPose) -> Prediction:
    """Temporal terms of weight zero."""
    return Prediction(pose.rotations, pose.transl, np.full(len(pose.rotations), np.inf), np.full(3, np.inf))


def world_pose(
    pose: BodyPose, skeleton: Skeleton, camera: Camera
) -> tuple[Float[np.ndarray, "22 3 3"], Float[np.ndarray, "3"]]:
    """Local rotations with the root's in the world, and the world position of joint 0."""
    T_world_camera = rigid_inverse(camera.T_camera_world)
    rotations = pose.rotations.copy()
    rotations[0] = T_world_camera[:3, :3] @ rotations[0]
    root = skeleton.joints[0] + skeleton.joint_dirs[0] @ pose.betas + pose.transl
    return rotations, T_world_camera[:3, :3] @ root + T_world_camera[:3, 3]


def _steps_between(a: _Past, b: _Past) -> float:
    return (
        float(np.clip((b.stamp_ns - a.stamp_ns) * 1e-9 * REFERENCE_HZ, MIN_STEPS, MAX_STEPS))
        if b.stamp_ns > a.stamp_ns
        else 1.0
    )
