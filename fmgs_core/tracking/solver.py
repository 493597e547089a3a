"""The objective of one frame and its damped Gauss-Newton (Levenberg-Marquardt) minimisation."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numba import njit

from fmgs_core.tracking.kinematics import BETAS, NUM_JOINTS, BodyPose, RiderPoints, Skeleton, posed_points_and_jacobian
from fmgs_core.tracking.residuals import (
    bone_directions,
    contour_distance,
    joint_limits,
    pose_prior,
    pose_smoothness,
    reprojection,
    robustify,
    shape_prior,
    translation_smoothness,
)
from fmgs_core.tracking.so3 import exp_so3

# Squared errors without outliers (priors) use the robust code path with a bound that is never met.
NO_BOUND = 1e9


class LandmarkTerms(NamedTuple):
    """Detected landmarks of one frame, and how far they are believed."""

    points: RiderPoints
    targets: Float[np.ndarray, "L 2"]
    """[px]"""
    weights: Float[np.ndarray, " L"]
    sigma_px: float
    huber: float
    bones: Int[np.ndarray, "K 2"]
    """Rows of `points`: from, to."""
    directions: Float[np.ndarray, "K 3"]
    """Unit vectors, camera axes."""
    bone_weights: Float[np.ndarray, " K"]
    bone_sigmas: Float[np.ndarray, " K"]
    bone_huber: float


class ContourTerms(NamedTuple):
    """Body points that should project onto the contour of the mask; may be empty."""

    points: RiderPoints
    normals: Float[np.ndarray, "n 2"]
    """Of the mask's contour, outward, unit."""
    targets: Float[np.ndarray, "n 2"]
    """[px]"""
    weights: Float[np.ndarray, " n"]
    sigma_px: float
    huber: float


class AxisTerms(NamedTuple):
    """Directions that lines through the body should have."""

    points: RiderPoints
    bones: Int[np.ndarray, "K 2"]
    """Rows of `points`: from, to."""
    directions: Float[np.ndarray, "K 3"]
    """Unit vectors, camera axes."""
    weights: Float[np.ndarray, " K"]
    sigmas: Float[np.ndarray, " K"]


class Anatomy(NamedTuple):
    """What poses people take: axis-angle components per joint [rad]."""

    means: Float[np.ndarray, "22 3"]
    sigmas: Float[np.ndarray, "22 3"]
    lower: Float[np.ndarray, "22 3"]
    upper: Float[np.ndarray, "22 3"]
    limit_sigma: float


class Prediction(NamedTuple):
    """Where the last frames say the body is now. Infinite sigmas switch it off."""

    rotations: Float[np.ndarray, "22 3 3"]
    transl: Float[np.ndarray, "3"]
    rotation_sigmas: Float[np.ndarray, "22"]
    transl_sigmas: Float[np.ndarray, "3"]


class ShapePrior(NamedTuple):
    """Gaussian belief about the betas."""

    mean: Float[np.ndarray, " B"]
    root_information: Float[np.ndarray, "B B"]
    """Lower Cholesky factor of the inverse covariance."""


class Problem(NamedTuple):
    """Everything the pose of one frame is judged by."""

    skeleton: Skeleton
    intrinsics: tuple[float, float, float, float]
    """fx, fy, cx, cy [px]."""
    landmarks: LandmarkTerms
    contour: ContourTerms
    upright: AxisTerms
    anatomy: Anatomy
    prediction: Prediction
    shape: ShapePrior


class Solution(NamedTuple):
    pose: BodyPose
    cost: float
    """Not finite when the start was not."""
    information: Float[np.ndarray, "n n"]
    """Gauss-Newton Hessian at the solution, over all unknowns."""


@njit(cache=True, nogil=True)
def linearize(problem, pose):
    """Cost and the robustly weighted rows r (m,), J (m, unknowns): cost's gradient is 2 J' r, its Hessian about 2 J' J."""
    lm, contour, upright = problem.landmarks, problem.contour, problem.upright
    anatomy, prediction = problem.anatomy, problem.prediction
    num_landmarks, num_bones, num_contour = len(lm.targets), len(lm.bones), len(contour.targets)
    num_betas = len(pose.betas)
    num_unknowns, per_joint = BETAS + num_betas, 3 * NUM_JOINTS
    num_axes = len(upright.bones)
    ends = np.cumsum(
        np.array([2 * num_landmarks, 3 * num_bones, num_contour, 3 * num_axes, per_joint, per_joint, per_joint, 3, num_betas])
    )
    r, J = np.empty(ends[-1]), np.empty((ends[-1], num_unknowns))
    ones = np.ones(NUM_JOINTS)
    cost = 0.0

    jacobians = np.empty((num_landmarks, 3, num_unknowns))
    points = posed_points_and_jacobian(lm.points, problem.skeleton, pose, jacobians)
    a, b = 0, ends[0]
    reprojection(points, jacobians, lm.targets, problem.intrinsics, lm.sigma_px, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 2, lm.weights, lm.huber)
    a, b = b, ends[1]
    bone_directions(points, jacobians, lm.bones, lm.directions, lm.bone_sigmas, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 3, lm.bone_weights, lm.bone_huber)
    a, b = b, ends[2]
    if num_contour > 0:
        jacobians = np.empty((num_contour, 3, num_unknowns))
        points = posed_points_and_jacobian(contour.points, problem.skeleton, pose, jacobians)
        contour_distance(
            points, jacobians, contour.normals, contour.targets, problem.intrinsics, contour.sigma_px, r[a:b], J[a:b]
        )
        cost += robustify(r[a:b], J[a:b], 1, contour.weights, contour.huber)
    a, b = b, ends[3]
    jacobians = np.empty((len(upright.points.rest), 3, num_unknowns))
    points = posed_points_and_jacobian(upright.points, problem.skeleton, pose, jacobians)
    bone_directions(points, jacobians, upright.bones, upright.directions, upright.sigmas, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 3, upright.weights, NO_BOUND)
    a, b = b, ends[4]
    pose_prior(pose.rotations, anatomy.means, anatomy.sigmas, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 3, ones, NO_BOUND)
    a, b = b, ends[5]
    joint_limits(pose.rotations, anatomy.lower, anatomy.upper, anatomy.limit_sigma, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 3, ones, NO_BOUND)
    a, b = b, ends[6]
    pose_smoothness(pose.rotations, prediction.rotations, prediction.rotation_sigmas, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 3, ones, NO_BOUND)
    a, b = b, ends[7]
    translation_smoothness(pose.transl, prediction.transl, prediction.transl_sigmas, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], 3, ones[:1], NO_BOUND)
    a, b = b, ends[8]
    shape_prior(pose.betas, problem.shape.mean, problem.shape.root_information, r[a:b], J[a:b])
    cost += robustify(r[a:b], J[a:b], num_betas, ones[:1], NO_BOUND)
    return cost, r, J


@njit(cache=True, nogil=True)
def moved(pose, step):
    """The pose after a step (unknowns,) in tangent space."""
    rotations = np.empty_like(pose.rotations)
    for j in range(NUM_JOINTS):
        rotations[j] = pose.rotations[j] @ exp_so3(step[3 * j : 3 * j + 3])
    return BodyPose(rotations, pose.transl + step[BETAS - 3 : BETAS], pose.betas + step[BETAS:])


def solve(problem: Problem, start: BodyPose, max_iterations: int, *, min_decrease: float = 1e-3) -> Solution:
    """Levenberg-Marquardt with Marquardt's diagonal scaling (damping 1e-3, x 0.3 on success, x 10 on failure).

    Stops when an accepted step lowers the cost by less than `min_decrease` of it. Never returns a pose with a cost above
    the start's; a start with a cost that is not finite comes back as it is.
    """
    pose, damping = start, 1e-3
    cost, r, J = linearize(problem, pose)
    H, g = J.T @ J, J.T @ r
    for _ in range(max_iterations if np.isfinite(cost) else 0):
        step = _damped_step(H, g, damping)
        trial = moved(pose, step)
        trial_cost, r, J = linearize(problem, trial)
        if not trial_cost < cost:  # a NaN is a failure too
            damping *= 10
            if damping > 1e3:
                break
            continue
        decrease = (cost - trial_cost) / cost
        pose, cost, damping = trial, trial_cost, max(0.3 * damping, 1e-6)
        H, g = J.T @ J, J.T @ r
        if decrease < min_decrease:
            break
    return Solution(pose, float(cost), H)


def _damped_step(H: Float[np.ndarray, "n n"], g: Float[np.ndarray, " n"], damping: float) -> Float[np.ndarray, " n"]:
    damped = H.copy()
    damped.flat[:: len(H) + 1] *= 1.0 + damping
    # Only the translation may be unseen (every landmark behind the camera); the floor keeps the system regular then.
    damped.flat[:: len(H) + 1] += 1e-9
    return -np.linalg.solve(damped, g)
