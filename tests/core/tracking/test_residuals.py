"""Finite differences of every residual and of the kinematics; properties of the robust weights."""

import numpy as np
import pytest

from fmgs_core.tracking import residuals
from fmgs_core.tracking.kinematics import BETAS, BodyPose, RiderPoints, posed_points, posed_points_and_jacobian
from fmgs_core.tracking.so3 import exp_so3, log_so3, right_jacobian_inverse
from fmgs_core.tracking.solver import moved

from .synthetic import NUM_BETAS, SKELETON, TABLE

UNKNOWNS = BETAS + NUM_BETAS
INTRINSICS = (500.0, 480.0, 320.0, 250.0)


def random_pose(seed: int, spread: float = 0.6) -> BodyPose:
    rng = np.random.default_rng(seed)
    rotations = np.stack([exp_so3(spread * w) for w in rng.standard_normal((22, 3))])
    return BodyPose(rotations, np.array([0.2, -0.1, 3.5]), 0.7 * rng.standard_normal(NUM_BETAS))


def blended_points(seed: int) -> RiderPoints:
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(4), 7)
    joints = rng.integers(0, 22, (7, 4))
    return RiderPoints(0.5 * rng.standard_normal((7, 3)), 0.1 * rng.standard_normal((7, 3, NUM_BETAS)), joints, weights)


def check_jacobian(evaluate, pose: BodyPose, columns=slice(0, UNKNOWNS)) -> None:
    """Central differences in float64: error about 1e-16 / h + h^2, so 1e-5 of the largest entry is ten times the noise."""
    r, J = evaluate(pose)
    r, J = r.copy(), J.copy()
    h = 1e-5
    numeric = np.empty_like(J)
    for n in range(UNKNOWNS):
        step = np.zeros(UNKNOWNS)
        step[n] = h
        numeric[:, n] = (evaluate(moved(pose, step))[0] - evaluate(moved(pose, -step))[0]) / (2 * h)
    assert np.abs(numeric).max() > 1e-3  # the test sees something
    np.testing.assert_allclose(J[:, columns], numeric[:, columns], atol=1e-5 * max(1.0, np.abs(numeric).max()))


def buffers(rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(rows, np.nan), np.full((rows, UNKNOWNS), np.nan)  # an unwritten value fails


def landmarks(pose: BodyPose) -> tuple[np.ndarray, np.ndarray]:
    jacobians = np.full((len(TABLE.detected), 3, UNKNOWNS), np.nan)
    return posed_points_and_jacobian(TABLE.points, SKELETON, pose, jacobians), jacobians


@pytest.mark.parametrize("points", [TABLE.points, blended_points(1)], ids=["landmarks", "blended"])
def test_point_jacobian(points):
    def evaluate(pose):
        jacobian = np.full((len(points.rest), 3, UNKNOWNS), np.nan)
        p = posed_points_and_jacobian(points, SKELETON, pose, jacobian)
        np.testing.assert_allclose(p, posed_points(points, SKELETON, pose), atol=1e-12)
        return p.ravel(), jacobian.reshape(-1, UNKNOWNS)

    check_jacobian(evaluate, random_pose(0))


def test_reprojection_jacobian():
    targets = np.random.default_rng(2).uniform(0, 500, (len(TABLE.detected), 2))

    def evaluate(pose):
        points, jacobians = landmarks(pose)
        r, J = buffers(2 * len(points))
        residuals.reprojection(points, jacobians, targets, INTRINSICS, 5.0, r, J)
        return r, J

    check_jacobian(evaluate, random_pose(3))


def test_bone_direction_jacobian_leaves_betas_alone():
    directions = np.random.default_rng(4).standard_normal((len(TABLE.bones), 3))

    def evaluate(pose):
        points, jacobians = landmarks(pose)
        r, J = buffers(3 * len(TABLE.bones))
        residuals.bone_directions(points, jacobians, TABLE.bones, directions, TABLE.bone_sigmas, r, J)
        return r, J

    check_jacobian(evaluate, random_pose(5), slice(0, BETAS))
    assert not evaluate(random_pose(5))[1][:, BETAS:].any()


def test_contour_jacobian():
    rng, points = np.random.default_rng(6), blended_points(7)
    angle = rng.uniform(0, 2 * np.pi, 7)
    normals, targets = np.stack([np.cos(angle), np.sin(angle)], 1), rng.uniform(0, 500, (7, 2))

    def evaluate(pose):
        jacobians = np.empty((7, 3, UNKNOWNS))
        p = posed_points_and_jacobian(points, SKELETON, pose, jacobians)
        r, J = buffers(7)
        residuals.contour_distance(p, jacobians, normals, targets, INTRINSICS, 3.0, r, J)
        return r, J

    check_jacobian(evaluate, random_pose(8))


def test_pose_prior_jacobian():
    rng = np.random.default_rng(9)
    means, sigmas = rng.standard_normal((22, 3)), rng.uniform(0.1, 1, (22, 3))

    def evaluate(pose):
        r, J = buffers(66)
        residuals.pose_prior(pose.rotations, means, sigmas, r, J)
        return r, J

    check_jacobian(evaluate, random_pose(10))


def test_joint_limit_jacobian_and_zero_inside():
    lower, upper = np.full((22, 3), -0.3), np.full((22, 3), 0.25)

    def evaluate(pose):
        r, J = buffers(66)
        residuals.joint_limits(pose.rotations, lower, upper, 0.05, r, J)
        return r, J

    check_jacobian(evaluate, random_pose(11))
    r, J = evaluate(random_pose(11, spread=0.02))
    assert not r.any() and not J.any()


def test_smoothness_jacobians():
    predicted = random_pose(12)

    def rotations(pose):
        r, J = buffers(66)
        residuals.pose_smoothness(pose.rotations, predicted.rotations, np.linspace(0.1, 1, 22), r, J)
        return r, J

    def translation(pose):
        r, J = buffers(3)
        residuals.translation_smoothness(pose.transl, predicted.transl + 0.1, np.array([0.02, 0.02, 0.05]), r, J)
        return r, J

    check_jacobian(rotations, random_pose(13))
    check_jacobian(translation, random_pose(13))


def test_shape_prior_is_its_information_matrix():
    rng = np.random.default_rng(14)
    A = rng.standard_normal((NUM_BETAS, NUM_BETAS))
    information, mean = A @ A.T + np.eye(NUM_BETAS), rng.standard_normal(NUM_BETAS)
    root = np.linalg.cholesky(information)

    def evaluate(pose):
        r, J = buffers(NUM_BETAS)
        residuals.shape_prior(pose.betas, mean, root, r, J)
        return r, J

    pose = random_pose(15)
    check_jacobian(evaluate, pose)
    offset = pose.betas - mean
    assert (evaluate(pose)[0] ** 2).sum() == pytest.approx(offset @ information @ offset)


def test_robust_cost_and_gradient():
    """The weighted rows must have the gradient of the robust cost: d cost / dx = 2 J' r."""
    base, weights, huber = np.array([0.3, -0.2, 2.0, 1.5, 0.0, 0.0]), np.array([1.0, 0.5, 0.0]), 1.0

    def cost(x):
        r, J = base + x, np.eye(6)
        return residuals.robustify(r, J, 2, weights, huber), r, J

    _, r, J = cost(np.zeros(6))
    h = 1e-6
    numeric = [(cost(h * e)[0] - cost(-h * e)[0]) / (2 * h) for e in np.eye(6)]
    np.testing.assert_allclose(2 * J.T @ r, numeric, atol=1e-6)


def test_exp_and_log_are_inverse_up_to_half_a_turn():
    rng = np.random.default_rng(16)
    for angle in (0.0, 1e-9, 1e-4, 0.5, 2.0, 3.05, 3.12, np.pi - 1e-6, np.pi):
        axis = rng.standard_normal(3)
        w = angle * axis / np.linalg.norm(axis)
        # At exactly pi the axis may come back with the other sign, so the rotations are compared.
        np.testing.assert_allclose(exp_so3(log_so3(exp_so3(w))), exp_so3(w), atol=1e-7)
        assert np.linalg.norm(log_so3(exp_so3(w))) == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-5, 0.7, 2.9])
def test_right_jacobian_inverse(angle):
    w, h = angle * np.array([0.6, -0.48, 0.64]), 1e-6
    numeric = np.stack([(log_so3(exp_so3(w) @ exp_so3(h * e)) - log_so3(exp_so3(w) @ exp_so3(-h * e))) for e in np.eye(3)], 1)
    np.testing.assert_allclose(right_jacobian_inverse(w), numeric / (2 * h), atol=1e-7)
