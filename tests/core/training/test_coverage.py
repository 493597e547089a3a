"""Yaw of views and the share of the circle they make. Kinds: property, behaviour."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmgs_core.geometry import look_at
from fmgs_core.training.coverage import YawCoverage, view_yaw_deg
from fmgs_core.types import Camera

from .scene import camera

ROOT = np.array([0.0, 0.1, 0.0])


def seen_from(yaws_deg: list[float]) -> YawCoverage:
    coverage = YawCoverage()
    for yaw in yaws_deg:
        coverage.saw(float(yaw))
    return coverage


@pytest.mark.parametrize("step_deg", [1, 5, 12, 20])
def test_a_turn_covers_the_circle_whatever_its_speed(step_deg: int):
    assert seen_from(list(range(0, 360, step_deg))).degrees == 360


@given(st.lists(st.floats(-720, 720), min_size=1, max_size=20))
def test_coverage_grows_with_views_and_knows_a_view_again(yaws: list[float]):
    coverage, before = YawCoverage(), 0.0
    for yaw in yaws:
        coverage.saw(yaw)
        assert before <= coverage.degrees <= min(360, before + 25)
        before = coverage.degrees
    fresh, again = coverage.degrees, seen_from([*yaws, *(yaw + 360 for yaw in yaws)])
    assert again.degrees == fresh and again.frames_without_news >= len(yaws)


@pytest.mark.parametrize("yaw_deg", [0.0, 35.0, 90.0, 180.0, 271.0])
def test_a_turning_person_and_a_camera_that_goes_round_are_one(yaw_deg: float):
    """A camera at the person's left is the same as a person who turns the left side to the camera."""
    yaw = np.radians(yaw_deg)
    round_trip = view_yaw_deg(camera(yaw), ROOT, np.zeros(3))
    turned = view_yaw_deg(camera(0.0), ROOT, np.array([0, -yaw, 0]))
    expected = (yaw_deg + 180) % 360 - 180
    assert (round_trip - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
    assert (turned - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)


def test_height_of_the_camera_and_place_of_the_person_do_not_matter():
    T = look_at(np.array([3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0]))
    above: Camera = replace(camera(), T_camera_world=T)
    assert view_yaw_deg(above, np.array([1.0, 0.0, 1.0]), np.zeros(3)) == pytest.approx(90)
