"""Body states between the core's world and the optical frame, and through messages. Kind: round trip, parity with skinning."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_joints, posed_vertices
from fmgs_core.geometry import rigid
from fmgs_core.tracking.tracker import TrackingStatus
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState
from fmgs_ros.bodies import fill_body_state, rest_joints, state_from_optical, state_in_optical, state_of

from . import messages

BODY = default_body()
TRANSFORMS = {
    "unposed": T_CAMERA_WORLD_UNPOSED,
    "any": rigid(Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix(), np.array([0.4, -1.0, 2.5])),
}


def random_state(seed: int, betas: int = 16) -> BodyState:
    rng = np.random.default_rng(seed)
    pose = rng.normal(scale=0.5, size=(55, 3))
    return BodyState(rng.normal(size=betas), pose, rng.normal(size=3), 0.2 * rng.normal(size=52))


@pytest.mark.parametrize("T", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("seed", range(3))
def test_the_body_stands_in_the_same_place(T: np.ndarray, seed: int):
    state = random_state(seed)
    seen = posed_vertices(BODY, state) @ T[:3, :3].T + T[:3, 3]
    # float32 vertices some metres from the origin.
    np.testing.assert_allclose(posed_vertices(BODY, state_in_optical(BODY, state, T)), seen, atol=5e-6)


@pytest.mark.parametrize("T", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("seed", range(3))
def test_there_and_back_again(T: np.ndarray, seed: int):
    state = random_state(seed)
    back = state_from_optical(BODY, state_in_optical(BODY, state, T), T)
    turned = Rotation.from_rotvec(back.pose[0]) * Rotation.from_rotvec(state.pose[0]).inv()
    # float32 in between: 6e-8 of some metres, and of a turn.
    assert turned.magnitude() < 1e-6
    np.testing.assert_allclose(back.transl, state.transl, atol=1e-6)
    np.testing.assert_array_equal(back.pose[1:], state.pose[1:])
    np.testing.assert_array_equal(back.betas, state.betas)


def test_a_person_who_faces_an_unposed_camera():
    """World: upright at -z. Optical frame: y down, so upside down about x, at +z."""
    seen = state_in_optical(BODY, BodyState(np.zeros(16), np.zeros((55, 3)), np.array([0, 0, -3.0]), np.zeros(52)))
    np.testing.assert_allclose(np.abs(seen.pose[0]), [np.pi, 0, 0], atol=1e-6)
    assert posed_joints(BODY, seen)[0, 2] == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize("betas", [0, 3, 16])
def test_rest_joints_are_those_of_skinning(betas: int):
    state = BodyState(random_state(4).betas[:betas], np.zeros((55, 3)), np.zeros(3), random_state(4).expression)
    np.testing.assert_allclose(rest_joints(BODY, state.betas, state.expression), posed_joints(BODY, state), atol=1e-6)


def test_a_message_carries_a_state_to_the_bit():
    state, message = random_state(5), messages.body_state()
    fill_body_state(message, state, TrackingStatus.TRACKING, 0.75)
    assert (message.status, message.confidence) == (1, 0.75)
    again = state_of(BODY, message)
    assert again is not None
    for name in ("betas", "pose", "transl", "expression"):
        np.testing.assert_array_equal(getattr(again, name), getattr(state, name))


@pytest.mark.parametrize(("status", "number"), [(TrackingStatus.SEARCHING, 0), (TrackingStatus.LOST, 2)])
def test_nobody_is_an_empty_message(status: TrackingStatus, number: int):
    message = messages.body_state()
    fill_body_state(message, None, status, 0.0)
    assert message.status == number and len(message.pose) == 0
    assert state_of(BODY, message) is None


def test_an_empty_expression_is_a_neutral_face():
    message = messages.body_state()
    fill_body_state(message, random_state(6), TrackingStatus.TRACKING, 1.0)
    message.expression = []
    state = state_of(BODY, message)
    assert state is not None
    np.testing.assert_array_equal(state.expression, np.zeros(52))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("pose", [0.0] * 72, "expected 3 x 55"),
        ("betas", [0.0] * 300, "at most 16"),
        ("expression", [0.0] * 53, "at most 52"),
        ("transl", [np.nan, 0, 0], "finite"),
    ],
)
def test_a_state_of_another_body_is_refused(field: str, value: list, said: str):
    message = messages.body_state()
    fill_body_state(message, random_state(7), TrackingStatus.TRACKING, 1.0)
    setattr(message, field, value)
    with pytest.raises(ValueError, match=said):
        state_of(BODY, message)
