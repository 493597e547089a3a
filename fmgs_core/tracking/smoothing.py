"""The tracker's second look: the poses of many frames at once, each judged by what its frame showed and by its neighbours on
both sides.

One camera sees the depth of a limb badly, and MediaPipe's guess of it errs for seconds in the same way. But while a person
turns the same pose is seen from all sides: tied together in time, the frames triangulate it. On gt/dressed_a the joints'
error falls from 27.8 to 16 mm in the turn and stays at 50 mm where the limbs move and the body does not (34.7 to 27 in all).
The same poses smoothed after they were fitted, each from its own frame, gain nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from fmgs_core.geometry import rigid_inverse
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.floor import FloorTerms, add_floor_terms, floor_height, floor_terms, sole_heights
from fmgs_core.tracking.history import JOINT_AGILITY, REFERENCE_HZ, STALE_S, no_prediction
from fmgs_core.tracking.kinematics import BETAS, NUM_JOINTS, BodyPose, RiderPoints, Skeleton
from fmgs_core.tracking.motion_terms import add_motion_terms, lower_band
from fmgs_core.tracking.solver import Problem, linearize, moved


@dataclass(frozen=True)
class SmoothingConfig:
    """How far bodies are expected to move, at 15 Hz; longer gaps widen it like a random walk."""

    rotation_sigma_rad: float = 0.01
    """Turn of a joint between frames, times its agility. 0.005 to 0.02 differ by 1 mm."""
    root_rotation_sigma_rad: float = 0.15
    root_sigma_m: float = 0.005
    """Way of the root between frames."""
    bone_sigma_factor: float = 2.0
    """On the tracker's sigmas of the detected directions, whose errors last: with 1 the neighbours only repeat them."""
    floor_sigma_m: float = 0.01
    """How exactly the soles meet the floor; four times as much where the camera's pose is unknown. 0: there is no floor."""
    iterations: int = 3
    """A look. Each goes on from the one before; 2 to 5 end within 0.2 mm of each other."""
    enabled: bool = True
    frames: int = 240
    """How many of the newest frames are kept for it, 50 kB each."""
    first_after_frames: int = 12
    """As many as after which poses begin to be refined on the avatar."""
    growth: float = 1.0
    """Done anew when this share of frames has come since: with 1 all the times together cost twice the last one."""

    def __post_init__(self):
        for name in (
            "rotation_sigma_rad",
            "root_rotation_sigma_rad",
            "root_sigma_m",
            "bone_sigma_factor",
            "growth",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"SmoothingConfig.{name}: expected a positive number, got {getattr(self, name)}")
        if not 0 <= self.floor_sigma_m < np.inf:
            raise ValueError(f"SmoothingConfig.floor_sigma_m: expected zero (no floor) or more, got {self.floor_sigma_m}")
        for name, least in (("iterations", 1), ("frames", 2), ("first_after_frames", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"SmoothingConfig.{name}: expected {least} or more, got {getattr(self, name)}")


def smoothed_poses(
    evidence: Sequence[FrameEvidence],
    starts: Sequence[BodyPose],
    betas: Float[np.ndarray, " B"],
    config: SmoothingConfig = SmoothingConfig(),
    soles: RiderPoints | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[BodyPose]:
    """Poses of all frames in camera axes, with one shape; 0.5 to 1 ms a frame and iteration.

    Levenberg-Marquardt over all frames; the cost never ends above that of the starts.

    Args:
        evidence: in the order of time.
        starts: a pose for each, in camera axes.
        soles: the body's sole_points; None where it has no floor.
        stopped: asked before each frame of each iteration; once it is true the best poses so far are returned.
    """
    floor = None if soles is None or config.floor_sigma_m == 0 else floor_terms(soles, evidence, config.floor_sigma_m)
    system = _Motion(evidence, betas, config, floor, stopped)
    skeleton = evidence[0].problem.skeleton
    poses = [_in_shape(pose, betas, skeleton) for pose in starts]
    damping, cost = 1e-3, system.linearized(poses)
    for _ in range(config.iterations):
        if stopped():
            break
        diagonal, coupling, gradient = system.diagonal, system.coupling, system.gradient
        band = lower_band(diagonal, coupling, damping)
        steps = -scipy.linalg.solveh_banded(band, gradient.ravel(), lower=True, check_finite=False).reshape(gradient.shape)
        trial = [moved(pose, np.concatenate([step, np.zeros(len(betas))])) for pose, step in zip(poses, steps, strict=True)]
        trial_cost = system.linearized(trial)
        if trial_cost < cost:
            poses, cost, damping = trial, trial_cost, max(0.3 * damping, 1e-6)
        else:
            damping *= 10
            system.diagonal, system.coupling, system.gradient = diagonal, coupling, gradient
    return poses


class _Motion:
    """The objective over all frames, linearised."""

    def __init__(
        self,
        evidence: Sequence[FrameEvidence],
        betas: Float[np.ndarray, " B"],
        config: SmoothingConfig,
        floor: FloorTerms | None,
        stopped: Callable[[], bool],
    ):
        self._floor, self._stopped = floor, stopped
        self._problems = [_without_past(seen, config.bone_sigma_factor) for seen in evidence]
        T_world_camera = np.stack([rigid_inverse(seen.camera.T_camera_world) for seen in evidence])
        self._eyes = np.ascontiguousarray(T_world_camera[:, :3, 3])
        self._world = np.ascontiguousarray(T_world_camera[:, :3, :3])
        self._cameras = np.ascontiguousarray(self._world.transpose(0, 2, 1))
        skeleton = self._problems[0].skeleton
        self._rest_root = skeleton.joints[0] + skeleton.joint_dirs[0] @ betas
        spread = _spread(np.array([seen.stamp_ns for seen in evidence]))
        sigmas = config.rotation_sigma_rad * JOINT_AGILITY
        sigmas[0] = config.root_rotation_sigma_rad
        self._sigmas, self._root_sigmas = spread[:, None] * sigmas, spread * config.root_sigma_m

    def linearized(self, poses: Sequence[BodyPose]) -> float:
        """Cost, infinite once stopped; leaves H's blocks and the gradient in `diagonal`, `coupling` and `gradient`."""
        count, cost = len(poses), 0.0
        self.diagonal, self.gradient = np.empty((count, BETAS, BETAS)), np.empty((count, BETAS))
        self.coupling = np.zeros((max(0, count - 1), BETAS, BETAS))
        for k, (problem, pose) in enumerate(zip(self._problems, poses, strict=True)):
            if self._stopped():
                return np.inf
            frame_cost, r, J = linearize(problem, pose)
            J = np.ascontiguousarray(J[:, :BETAS])
            self.diagonal[k], self.gradient[k] = J.T @ J, J.T @ r
            cost += frame_cost
        return cost + self._motion_cost(poses) + self._floor_cost(poses)

    def _motion_cost(self, poses: Sequence[BodyPose]) -> float:
        rotations = np.stack([pose.rotations for pose in poses])
        rotations[:, 0] = self._world @ rotations[:, 0]
        roots = self._eyes + (self._world @ np.stack([self._rest_root + pose.transl for pose in poses])[..., None])[..., 0]
        return add_motion_terms(
            rotations, roots, self._cameras, self._sigmas, self._root_sigmas, self.diagonal, self.coupling, self.gradient
        )

    def _floor_cost(self, poses: Sequence[BodyPose]) -> float:
        """The floor's height follows the poses: it is the best one for each set of them, near enough."""
        if self._floor is None:
            return 0.0
        heights, rows = np.empty((len(poses), 4)), np.empty((len(poses), 4, BETAS))
        for k, pose in enumerate(poses):
            sole_heights(self._floor, k, self._problems[k].skeleton, pose, heights[k], rows[k])
        height = floor_height(heights, self._floor.seen)
        if not np.isfinite(height):
            return 0.0
        return add_floor_terms(heights - height, self._floor.seen, self._floor.sigmas, rows, self.diagonal, self.gradient)


def _in_shape(pose: BodyPose, betas: Float[np.ndarray, " B"], skeleton: Skeleton) -> BodyPose:
    """The same pose of a body in another shape, with its root in the same place."""
    return BodyPose(pose.rotations, pose.transl + skeleton.joint_dirs[0] @ (pose.betas - betas), betas)


def _without_past(seen: FrameEvidence, bone_sigma_factor: float) -> Problem:
    """The frame's own terms alone: what the past says comes from the neighbours here."""
    landmarks = seen.problem.landmarks
    return seen.problem._replace(
        landmarks=landmarks._replace(bone_sigmas=landmarks.bone_sigmas * bone_sigma_factor),
        prediction=no_prediction(BodyPose(np.tile(np.eye(3), (NUM_JOINTS, 1, 1)), np.zeros(3), seen.pose.betas)),
    )


def _spread(stamps_ns: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n-1"]:
    """Factor on the sigmas between consecutive frames; infinite over gaps after which nothing is predicted."""
    gaps_s = np.diff(stamps_ns) * 1e-9
    return np.where(gaps_s > STALE_S, np.inf, np.sqrt(np.maximum(gaps_s, 0.0) * REFERENCE_HZ).clip(0.5))
