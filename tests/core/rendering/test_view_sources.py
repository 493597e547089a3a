"""Views of a person who moves. Kinds: property, closed form of the smoothing, poison."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_joints, posed_vertices
from fmgs_core.rendering.view_sources import AroundConfig, AroundView, Lens, root_position
from fmgs_core.types import BodyState

BODY = default_body()
LENS = Lens(200, 240)


def standing(yaw: float = 0.0, transl: tuple = (0.0, 0.0, 0.0), beta: float = 0.0) -> BodyState:
    state = BODY.neutral_state()
    pose, betas = state.pose.copy(), state.betas.copy()
    pose[0], betas[0] = (0, yaw, 0), beta
    return replace(state, pose=pose, betas=betas, transl=np.array(transl, np.float32))


def view(turns_with_body: bool = True, **config: float) -> AroundView:
    return AroundView(BODY, AroundConfig(**config), LENS, turns_with_body=turns_with_body)


def direction(camera, state: BodyState) -> np.ndarray:
    """Unit vector from the person to the camera."""
    offset = camera.center - root_position(BODY, state)
    return offset / np.linalg.norm(offset)


def test_the_root_is_the_posed_pelvis():
    for state in (standing(1.2, (1, 2, 3)), standing(-2.0, (0, 0, -4), beta=2.0)):
        np.testing.assert_allclose(root_position(BODY, state), posed_joints(BODY, state)[0], atol=1e-6)


@pytest.mark.parametrize("turns", [True, False])
@pytest.mark.parametrize(("yaw", "transl", "beta"), [(0.0, (0, 0, 0), 0.0), (2.0, (1.5, -0.7, -4.0), 2.0)])
def test_the_whole_body_is_in_the_picture(turns: bool, yaw: float, transl: tuple, beta: float):
    state = standing(yaw, transl, beta)
    camera = view(turns).camera(state, 0.0)
    pixels = camera.project(posed_vertices(BODY, state).astype(np.float64))
    assert (camera.width, camera.height) == (200, 240)
    assert (pixels[:, 1] > 0).all() and (pixels[:, 1] < 240).all()
    assert 0.6 * 240 < np.ptp(pixels[:, 1]) < 0.95 * 240


@pytest.mark.parametrize("yaw", [0.0, 1.0, 3.0, -2.5])
def test_following_looks_from_the_same_side_whichever_way_the_person_faces(yaw: float):
    for yaw_deg, expected in ((0.0, yaw), (90.0, yaw + math.pi / 2)):
        state = standing(yaw)
        seen_from = direction(view(yaw_deg=yaw_deg, elevation_deg=0.0).camera(state, 0.0), state)
        np.testing.assert_allclose(seen_from, [math.sin(expected), 0, math.cos(expected)], atol=1e-6)


def test_an_orbit_stands_in_the_world_while_the_person_turns():
    for yaw in (0.0, 2.0):
        state = standing(yaw)
        np.testing.assert_allclose(direction(view(False, elevation_deg=0.0).camera(state, 0.0), state), [0, 0, 1], atol=1e-6)


def test_a_period_goes_once_around_from_the_front_over_the_left():
    around = view(period_s=8.0, elevation_deg=0.0, smoothing_s=0.0)
    state = standing(0.7)
    sides = [direction(around.camera(state, 100.0 + t), state) for t in (0.0, 2.0, 8.0)]
    left = [math.sin(0.7 + math.pi / 2), 0, math.cos(0.7 + math.pi / 2)]
    np.testing.assert_allclose(sides[1], left, atol=1e-6)
    np.testing.assert_allclose(sides[2], sides[0], atol=1e-6)


def test_a_step_is_made_up_for_by_63_percent_in_the_smoothing_time():
    around = view(smoothing_s=0.5, elevation_deg=0.0)
    start = around.camera(standing(), 10.0).center
    for k in range(1, 6):  # in how many pieces does not matter
        moved = around.camera(standing(transl=(1, 0, 0)), 10.0 + 0.1 * k).center
    np.testing.assert_allclose(moved - start, [1 - math.exp(-1), 0, 0], atol=1e-6)


def test_heading_is_smoothed_the_short_way_round():
    """From just under to just over half a turn: the camera does not swing past the front."""
    around = view(smoothing_s=1.0, elevation_deg=0.0)
    around.camera(standing(math.pi - 0.1), 0.0)
    seen_from = direction(around.camera(standing(-math.pi + 0.1), 0.5), standing())
    assert seen_from[2] < -0.99


def test_a_turn_is_made_up_for_as_well():
    """The heading is blended as a direction: 63 % of the way along the chord from the front to the left."""
    around = view(smoothing_s=1.0, elevation_deg=0.0)
    around.camera(standing(), 0.0)
    seen_from = direction(around.camera(standing(math.pi / 2), 1.0), standing())
    chord = np.array([1 - math.exp(-1), 0, math.exp(-1)])
    np.testing.assert_allclose(seen_from, chord / np.linalg.norm(chord), atol=1e-6)


def test_time_that_steps_back_starts_over():
    around = view(smoothing_s=10.0, elevation_deg=0.0)
    around.camera(standing(), 50.0)
    state = standing(transl=(3, 0, 0))
    assert direction(around.camera(state, 1.0), state)[2] == pytest.approx(1)


def test_without_smoothing_the_person_stays_in_the_middle():
    around = view(smoothing_s=0.0)
    around.camera(standing(), 0.0)
    state = standing(1.0, (2, 1, 0))
    np.testing.assert_allclose(around.camera(state, 0.01).project(root_position(BODY, state)[None]), [[100, 120]], atol=1e-6)


def test_the_lens_spans_its_field_of_view():
    K = Lens(320, 240, fov_deg=90.0).K
    assert K[0, 0] == K[1, 1] == pytest.approx(120) and K[0, 2] == 160 and K[1, 2] == 120
    camera = Lens().camera()
    assert (camera.center == 0).all() and camera.project(np.array([[0.0, 0.0, -2.0]])).tolist() == [[320, 320]]


@pytest.mark.parametrize("bad", [{"width": 15}, {"height": 5000}, {"fov_deg": 0.5}, {"fov_deg": math.nan}])
def test_a_lens_that_makes_no_sense_is_named(bad: dict):
    with pytest.raises(ValueError, match=f"Lens.{next(iter(bad))}: expected"):
        Lens(**bad)


@pytest.mark.parametrize(
    "bad",
    [{"yaw_deg": 400.0}, {"elevation_deg": 85.0}, {"framing": 0.0}, {"period_s": 0.1}, {"period_s": -5.0},
     {"smoothing_s": -1.0}, {"smoothing_s": math.nan}],
)  # fmt: skip
def test_a_view_that_makes_no_sense_is_named(bad: dict):
    with pytest.raises(ValueError, match=f"AroundConfig.{next(iter(bad))}: expected"):
        AroundConfig(**bad)
