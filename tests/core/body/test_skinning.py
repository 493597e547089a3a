"""Parity of skinning with a plain loop, finite differences of its gradients, and properties of posing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import Skinning, posed_joints, posed_vertices, vertex_normals
from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return default_body()


def _random_state(seed: int) -> BodyState:
    rng = np.random.default_rng(seed)
    return BodyState(rng.normal(size=16), rng.normal(0, 0.5, (55, 3)), rng.normal(size=3), rng.uniform(0, 1, 52))


def _lbs_by_loop(body: BodyModel, state: BodyState) -> tuple[np.ndarray, np.ndarray]:
    """Equations 2 to 4 of SMPL (Loper et al., 2015), joint after joint, float64: vertices and joints."""
    v = body.v_template + body.shapedirs.astype(float) @ state.betas + body.exprdirs.astype(float) @ state.expression
    rest = body.J_regressor.astype(float) @ v
    world = []
    for j, parent in enumerate(body.parents):
        local = np.eye(4)
        local[:3, :3] = Rotation.from_rotvec(state.pose[j].astype(float)).as_matrix()
        local[:3, 3] = rest[j] if parent < 0 else rest[j] - rest[parent]
        world.append(local if parent < 0 else world[parent] @ local)
    posed = np.zeros_like(v)
    for j, T in enumerate(world):
        posed += body.skin_weights[:, j : j + 1] * ((v - rest[j]) @ T[:3, :3].T + T[:3, 3])
    return posed + state.transl, np.stack([T[:3, 3] for T in world]) + state.transl


@pytest.mark.parametrize("seed", range(3))
def test_parity_with_the_loop(body: BodyModel, seed: int):
    state = _random_state(seed)
    vertices, joints = _lbs_by_loop(body, state)
    # 0.01 mm: a tenth of the unit in which the sequences store depth
    np.testing.assert_allclose(posed_vertices(body, state), vertices, atol=1e-5)
    np.testing.assert_allclose(posed_joints(body, state), joints, atol=1e-5)


def test_neutral_state_is_the_template(body: BodyModel):
    np.testing.assert_allclose(posed_vertices(body, body.neutral_state()), body.v_template, atol=1e-6)


def test_outputs_are_float32(body: BodyModel):
    assert posed_vertices(body, body.neutral_state()).dtype == np.float32
    assert posed_joints(body, body.neutral_state()).dtype == np.float32
    assert vertex_normals(body.v_template, body.faces).dtype == np.float32


def test_root_turns_about_its_rest_joint(body: BodyModel):
    turned = replace(body.neutral_state(), pose=np.eye(55, 3)[:, [1, 0, 2]] * [0, np.pi / 2, 0])
    R = Rotation.from_rotvec(turned.pose[0].astype(float)).as_matrix()
    root = (body.J_regressor @ body.v_template)[0]
    np.testing.assert_allclose(posed_vertices(body, turned), (body.v_template - root) @ R.T + root, atol=1e-5)


def test_bone_transforms_move_rest_joints_to_posed_joints(body: BodyModel):
    state, skinning = _random_state(3), Skinning(body)
    betas, pose, expression = (torch.tensor(x) for x in (state.betas, state.pose, state.expression))
    _, joints = skinning.shaped(betas, expression)
    A = skinning.bone_transforms(pose, joints)
    assert A.shape == (55, 3, 4)
    np.testing.assert_allclose(A[:, :, :3].det(), 1, atol=1e-5)
    moved = torch.einsum("jab,jb->ja", A[:, :, :3], joints) + A[:, :, 3]
    np.testing.assert_allclose(moved + torch.tensor(state.transl), posed_joints(body, state), atol=1e-6)


def test_fewer_coefficients_are_followed_by_zeros(body: BodyModel):
    full = BodyState(np.r_[1.0, -1.0, np.zeros(14)], _random_state(4).pose, np.zeros(3), np.zeros(52))
    short = replace(full, betas=full.betas[:2], expression=full.expression[:0])
    np.testing.assert_allclose(posed_vertices(body, short), posed_vertices(body, full), atol=1e-6)


def test_gradients_match_finite_differences(body: BodyModel):
    skinning = _double(Skinning(body))
    state, rng = _random_state(5), np.random.default_rng(6)
    values = [torch.tensor(x, dtype=torch.float64) for x in (state.betas, state.pose, state.transl, state.expression)]
    direction = torch.tensor(rng.normal(size=(body.num_vertices, 3)))

    def score(*inputs: torch.Tensor) -> torch.Tensor:
        return (skinning.posed(*inputs) * direction).sum()

    leaves = [x.clone().requires_grad_() for x in values]
    score(*leaves).backward()
    for k, leaf in enumerate(leaves):
        step = torch.tensor(rng.normal(size=tuple(leaf.shape)))
        plus, minus = ([x + s * 1e-5 * step if i == k else x for i, x in enumerate(values)] for s in (1, -1))
        expected = (score(*plus) - score(*minus)) / 2e-5
        assert leaf.grad is not None
        # central differences in float64: error of order step^2
        torch.testing.assert_close((leaf.grad * step).sum(), expected, rtol=1e-6, atol=1e-6)


def test_gradient_at_the_neutral_pose_is_finite_and_not_zero(body: BodyModel):
    pose = torch.zeros(55, 3, requires_grad=True)
    Skinning(body).posed(torch.zeros(16), pose, torch.zeros(3), torch.zeros(0)).square().sum().backward()
    assert pose.grad is not None and pose.grad.isfinite().all()
    assert (pose.grad.abs().sum(1) > 0).all(), "every joint moves something"


def test_too_many_coefficients_and_wrong_poses_are_refused(body: BodyModel):
    state = body.neutral_state()
    with pytest.raises(ValueError, match="betas: expected one vector of at most 16"):
        posed_vertices(body, replace(state, betas=np.zeros(17)))
    with pytest.raises(ValueError, match="expression: expected one vector of at most 52"):
        posed_vertices(body, replace(state, expression=np.zeros(53)))
    with pytest.raises(ValueError, match=r"pose: expected shape \(55, 3\)"):
        posed_vertices(body, replace(state, pose=np.zeros((24, 3))))


def test_vertex_normals_of_a_sphere_are_radial():
    octahedron = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    np.testing.assert_allclose(vertex_normals(octahedron * 0.01, faces), octahedron, atol=1e-6)


def test_vertex_normals_are_zero_without_faces():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], np.float32)
    normals = vertex_normals(vertices, np.array([[0, 1, 2]]))
    np.testing.assert_array_equal(normals, [[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0]])


def _double(skinning: Skinning) -> Skinning:
    for name, value in vars(skinning).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            setattr(skinning, name, value.double())
    return skinning
