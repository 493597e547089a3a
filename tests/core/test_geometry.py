"""Rotations, frames and rigid transforms. Kinds: properties against scipy, round trips, gradients at singular points."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fmgs_core.geometry import (
    hat,
    look_at,
    orthonormalized,
    quaternion_from_rotation,
    rigid,
    rigid_inverse,
    rotation_from_axis_angle,
    rotation_from_quaternion,
    triangle_frames,
)

EXACT = 1e-9  # float64; measured need 3e-12, the square root of the eps inside the norm
SMALL = st.floats(-3, 3, allow_subnormal=False)
vectors = st.tuples(SMALL, SMALL, SMALL)


@st.composite
def axis_angles(draw) -> np.ndarray:
    """Angles that crowd where formulas break: at zero and at pi."""
    axis = np.array(draw(vectors.filter(lambda v: np.linalg.norm(v) > 0.1)))
    angle = draw(st.sampled_from([0.0, 1e-9, 1e-6, 1e-3, 1.0, np.pi - 1e-3, np.pi - 1e-6, np.pi]) | st.floats(0, np.pi))
    return angle * axis / np.linalg.norm(axis)


@given(axis_angles())
def test_axis_angle_is_scipys_rotation(w: np.ndarray):
    R = rotation_from_axis_angle(torch.from_numpy(w)).numpy()
    np.testing.assert_allclose(R, Rotation.from_rotvec(w).as_matrix(), atol=EXACT)


@given(axis_angles())
def test_rotation_to_quaternion_and_back(w: np.ndarray):
    R = torch.from_numpy(Rotation.from_rotvec(w).as_matrix())
    quat = quaternion_from_rotation(R)
    np.testing.assert_allclose(rotation_from_quaternion(quat), R, atol=EXACT)
    x, y, z, scalar = Rotation.from_rotvec(w).as_quat()
    np.testing.assert_allclose(abs(quat.numpy() @ [scalar, x, y, z]), 1, atol=EXACT)  # wxyz; the sign is free


@given(vectors, vectors)
def test_hat_is_the_cross_product(v: tuple, x: tuple):
    np.testing.assert_allclose(hat(torch.tensor(v)) @ torch.tensor(x), np.cross(v, x), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_at_the_zero_rotation_is_the_generators(dtype: torch.dtype):
    """dR/dw_k at w = 0 is hat(e_k); a plain norm would give NaN there."""
    J = torch.autograd.functional.jacobian(rotation_from_axis_angle, torch.zeros(3, dtype=dtype))
    torch.testing.assert_close(J.permute(2, 0, 1), hat(torch.eye(3, dtype=dtype)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("axis", [*np.eye(3), [0.6, 0.0, 0.8], [0.0, 0.0, 0.0]])
def test_gradient_of_the_quaternion_is_finite_at_half_turns(axis: list):
    """At pi the trace formula divides by zero: the analytic gradient must still be that of finite differences."""
    w = torch.tensor(np.array(axis) * np.pi, requires_grad=True)
    torch.autograd.gradcheck(lambda w: rotation_from_quaternion(quaternion_from_rotation(rotation_from_axis_angle(w))), w)


@given(st.lists(vectors, min_size=3, max_size=3).filter(lambda M: abs(np.linalg.det(M)) > 0.1))
def test_orthonormalized_is_a_rotation_that_keeps_the_normal(columns: list):
    M = torch.tensor(columns, dtype=torch.float64).T
    R = orthonormalized(M)
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=EXACT)
    assert torch.linalg.det(R) == pytest.approx(1)
    np.testing.assert_allclose(R[:, 2], M[:, 2] / M[:, 2].norm(), atol=EXACT)
    assert R[:, 0] @ M[:, 0] > 0


@given(axis_angles())
def test_orthonormalized_leaves_a_rotation_alone(w: np.ndarray):
    R = torch.from_numpy(Rotation.from_rotvec(w).as_matrix())
    np.testing.assert_allclose(orthonormalized(R), R, atol=EXACT)


@given(st.lists(vectors, min_size=3, max_size=3))
@example([(0, 0, 0), (1, 0, 0), (0, 2, 0)])
def test_triangle_frames(corners: list):
    """Rotation with the first edge as t_u and the outward normal last; area by Heron-free cross product."""
    triangle = np.array(corners, dtype=np.float64)
    normal = np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])
    frame, area = (x.numpy() for x in triangle_frames(torch.from_numpy(triangle)))
    assert np.isfinite(frame).all() and area == pytest.approx(0.5 * np.linalg.norm(normal), abs=1e-12)
    if area > 1e-3:
        np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=EXACT)
        np.testing.assert_allclose(frame[:, 2] * 2 * area, normal, atol=EXACT)
        assert np.linalg.det(frame) == pytest.approx(1)
        assert frame[:, 0] @ (triangle[1] - triangle[0]) > 0


@pytest.mark.parametrize(
    "corners", [np.zeros((3, 3)), np.ones((3, 3)), [[0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 0, 0]] * 2 + [[1, 1, 1]]]
)
def test_degenerate_triangles_have_finite_frames_and_gradients_and_no_area(corners: list):
    triangle = torch.tensor(np.array(corners), dtype=torch.float32, requires_grad=True)
    frame, area = triangle_frames(triangle)
    (frame.sum() + area).backward()
    assert torch.isfinite(frame).all() and area == 0
    assert triangle.grad is not None and torch.isfinite(triangle.grad).all()


@given(axis_angles(), vectors, vectors)
def test_rigid_inverse_undoes(w: np.ndarray, t: tuple, x: tuple):
    T = rigid(Rotation.from_rotvec(w).as_matrix(), np.array(t))
    np.testing.assert_allclose(rigid_inverse(T) @ T, np.eye(4), atol=EXACT)
    np.testing.assert_allclose((T @ [*x, 1])[:3], Rotation.from_rotvec(w).apply(x) + t, atol=EXACT)


@given(vectors, vectors)
def test_look_at_centres_the_target_and_keeps_up_up(a: tuple, b: tuple):
    eye, target = np.array(a), np.array(b)
    view = target - eye
    if np.hypot(view[0], view[2]) < 1e-3 * max(np.linalg.norm(view), 1e-3):
        return
    T = look_at(eye, target)
    R = T[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=EXACT)
    assert np.linalg.det(R) == pytest.approx(1)
    np.testing.assert_allclose(T @ [*eye, 1], [0, 0, 0, 1], atol=EXACT)
    np.testing.assert_allclose(T @ [*target, 1], [0, 0, np.linalg.norm(view), 1], atol=EXACT)
    assert (R @ [0, 1, 0])[1] < 0  # world up runs up the picture, whose y axis points down
    assert abs((R @ [0, 1, 0])[0]) < EXACT


@pytest.mark.parametrize("target", [(1.0, 5.0, 3.0), (1.0, -5.0, 3.0), (1.0, 2.0, 3.0), (np.nan, 2.0, 3.0)])
def test_look_at_straight_up_down_or_at_itself_is_refused(target: tuple):
    with pytest.raises(ValueError, match=r"look_at: expected .* got eye="):
        look_at(np.array([1.0, 2.0, 3.0]), np.array(target))
