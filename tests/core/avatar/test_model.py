"""The avatar as a whole. Kinds: property (splats ride on the skinned mesh), behaviour of its setters, refusal."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmgs_core.avatar import model
from fmgs_core.avatar.fields import INITIAL_OPACITY
from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import Skinning, posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rotation_from_quaternion, triangle_frames
from fmgs_core.types import BodyState

from .bodies import tube

# A face is carried by the mean of its vertices' weights and not vertex by vertex (FMGS-Avatar sec. 3.2), which differs
# where weights change fast: measured up to 3.9 mm on the default body at 0.5 rad, 2e-5 m on its median face.
RIDES_WITHIN_M, MEDIAN_WITHIN_M = 5e-3, 1e-4


def random_state(body: BodyModel, seed: int, angle: float = 0.5, expression: float = 0.0) -> BodyState:
    rng = np.random.default_rng(seed)
    return BodyState(
        rng.normal(size=body.shapedirs.shape[2]),
        rng.normal(0, angle, (body.num_joints, 3)),
        rng.normal(size=3),
        expression * rng.normal(size=body.exprdirs.shape[2]),
    )


def off_the_faces(avatar: Avatar, state: BodyState) -> np.ndarray:
    """Distance [m] of every splat from the barycentre of its face on the skinned mesh."""
    triangles = posed_vertices(avatar.body, state)[avatar.faces.numpy()]
    return np.linalg.norm(avatar.drawn(state).means.numpy() - triangles.mean(1), axis=1)


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return Avatar(default_body())


@pytest.mark.parametrize(("seed", "expression"), [(0, 0.0), (1, 0.0), (2, 1.0)])
def test_fresh_splats_ride_on_the_skinned_mesh(seed: int, expression: float):
    body = default_body()
    state = random_state(body, seed, expression=expression)
    distance = off_the_faces(Avatar(body, state.betas), state)
    assert distance.max() < RIDES_WITHIN_M and np.median(distance) < MEDIAN_WITHIN_M


def test_fresh_splats_face_the_way_their_faces_do(avatar: Avatar):
    """But for the few between two bones, where the blend shears and the paper's R_o = T R' is not the face's normal."""
    body = default_body()
    state = replace(random_state(body, 3, angle=0.2), betas=np.zeros(16))
    frames, _ = triangle_frames(torch.from_numpy(posed_vertices(body, state))[avatar.faces])
    normals = rotation_from_quaternion(avatar.drawn(state).quats)[..., 2]
    agreement = (normals * frames[..., 2]).sum(-1)
    assert agreement.quantile(0.05) > 0.97 and agreement.median() > 0.999  # cosines; measured 0.98 and 0.9999


@pytest.mark.parametrize("expression", [0.0, 1.0])
@pytest.mark.parametrize("correctives", [False, True])
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_splats_ride_on_a_body_with_pose_correctives(correctives: bool, expression: float, seed: int):
    """The correctives move the tube by centimetres; 0.5 rad between coarse rings leave up to 6 mm as above."""
    body = tube(correctives)
    state = random_state(body, seed, angle=0.3, expression=expression)
    assert off_the_faces(Avatar(body, state.betas), state).max() < 6e-3


def test_correctives_of_the_tube_are_far_larger_than_what_its_faces_are_allowed():
    with_them, without = tube(True), tube()
    moved = np.linalg.norm(
        posed_vertices(with_them, random_state(with_them, 0, 0.3)) - posed_vertices(without, random_state(without, 0, 0.3)),
        axis=1,
    )
    assert np.median(moved) > 0.02


def test_a_body_with_correctives_still_learns_pose_and_field():
    """The correctives carry no gradient by design; everything else does."""
    avatar = Avatar(tube(True))
    pose = (0.2 * torch.randn(3, 3)).requires_grad_()
    splats = avatar.posed(pose, torch.zeros(3, requires_grad=True))
    (splats.means.sum() + splats.quats.sum() + splats.scales.sum()).backward()
    for gradient in (pose.grad, avatar.field.normal_offset.grad, avatar.field.rotation.grad, avatar.field.log_scale.grad):
        assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_only_a_body_with_correctives_or_an_expression_is_bound_anew(monkeypatch: pytest.MonkeyPatch):
    """The default body's binding is a constant, and costs its 27 thousand faces once."""
    plain, corrected = Avatar(tube()), Avatar(tube(True))
    calls = []
    bind = model.bind_faces
    monkeypatch.setattr(model, "bind_faces", lambda *args: calls.append(1) or bind(*args))
    pose, transl, neutral, smile = torch.zeros(3, 3), torch.zeros(3), torch.zeros(1), torch.ones(1)
    plain.posed(pose, transl), plain.posed(pose, transl, neutral)
    assert not calls
    plain.posed(pose, transl, smile), corrected.posed(pose, transl)
    assert len(calls) == 2


def test_one_splat_sits_on_every_kept_face(avatar: Avatar):
    kept = default_body().kept_faces
    np.testing.assert_array_equal(avatar.faces, default_body().faces[kept])
    splats = avatar.drawn(default_body().neutral_state())
    assert splats.logits is not None
    assert len(splats.means) == len(kept) == len(avatar.observed) and splats.logits.shape == (len(kept), 28)
    assert torch.allclose(splats.opacities, torch.tensor(INITIAL_OPACITY)) and (splats.colors == 0.5).all()
    assert (splats.scales > 0).all()


def test_setting_the_shape_is_the_same_as_being_born_with_it():
    body = tube()
    betas = np.array([0.7, -1.2], np.float32)
    avatar, other = Avatar(body), Avatar(body, betas)
    with torch.no_grad():
        for a, b in zip(avatar.field.parameters(), other.field.parameters(), strict=True):
            a.add_(0.1 * torch.randn_like(a))
            b.copy_(a)
    state = random_state(body, 1)
    before = avatar.drawn(state).means
    avatar.set_betas(betas)
    np.testing.assert_array_equal(avatar.betas, betas)
    assert (avatar.drawn(state).means != before).any()
    for name, value in vars(other.drawn(state)).items():
        assert torch.equal(getattr(avatar.drawn(state), name), value), name


def test_the_shape_given_is_copied():
    """A tracker goes on writing into its array; the avatar's must not follow unbound."""
    betas = np.array([0.5, 0.5], np.float32)
    avatar = Avatar(tube(), betas)
    betas += 1
    assert avatar.betas.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("betas", [np.zeros(3), np.zeros((1, 2)), np.array([0, np.nan]), np.array([np.inf, 0])])
def test_a_shape_that_does_not_fit_is_refused(betas: np.ndarray):
    with pytest.raises(ValueError, match=r"betas: expected 2 finite values as body 'default' has, got"):
        Avatar(tube()).set_betas(betas.astype(np.float32))


def test_an_expression_moves_the_face_and_nothing_else(avatar: Avatar):
    body = default_body()
    part = np.array(body.part_names)[body.face_part[body.kept_faces]]
    state = body.neutral_state()
    moved = avatar.drawn(replace(state, expression=np.ones(52))).means - avatar.drawn(state).means
    distance = moved.norm(dim=-1).numpy()
    assert distance[part == "face"].max() > 5e-3
    assert distance[np.isin(part, ["l_foot", "r_foot", "l_shin", "r_hand", "hips"])].max() < 1e-6


def test_the_states_own_shape_is_ignored(avatar: Avatar):
    state = random_state(default_body(), 5)
    means = avatar.drawn(state).means
    assert torch.equal(means, avatar.drawn(replace(state, betas=np.zeros(16))).means)
    assert not means.requires_grad


def test_a_surface_offset_lifts_the_splats_off_the_skin():
    """A constant offset of vertices is the same offset of every face, along its rest normal, rotated with the body."""
    body = tube()
    avatar = Avatar(body)
    state = replace(random_state(body, 2), betas=np.zeros(2))
    before = avatar.drawn(state)
    avatar.set_surface_offset(torch.full((body.num_vertices,), 0.03))
    step = avatar.drawn(state).means - before.means
    torch.testing.assert_close(
        (step * rotation_from_quaternion(before.quats)[..., 2]).sum(-1), step.norm(dim=-1), atol=1e-3, rtol=0
    )
    rigid = avatar.skinning.skin_weights[avatar.faces].mean(1).max(-1).values > 1 - 1e-6
    torch.testing.assert_close(step.norm(dim=-1)[rigid], torch.full((int(rigid.sum()),), 0.03), atol=1e-6, rtol=0)


def test_translation_is_added_after_posing(avatar: Avatar):
    pose = 0.3 * torch.randn(55, 3)
    shift = torch.tensor([0.4, -1.0, 2.0])
    with torch.no_grad():
        torch.testing.assert_close(avatar.posed(pose, shift).means, avatar.posed(pose, torch.zeros(3)).means + shift)


def test_the_skinning_of_the_tube_is_sound():
    """So that a failure above speaks of the avatar: root rotation turns the whole tube about its root joint."""
    body = tube()
    pose = torch.zeros(3, 3)
    pose[0, 2] = np.pi / 2
    posed = Skinning(body).posed(torch.zeros(2), pose, torch.zeros(3), torch.zeros(1)).numpy()
    np.testing.assert_allclose(posed, body.v_template @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]), atol=1e-6)
