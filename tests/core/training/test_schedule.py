"""The schedule as a function of evidence. Kinds: behaviour, property."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmgs_core.training.schedule import Schedule, ScheduleConfig

CONFIG = ScheduleConfig(geometry_after_keyframes=3, pose_after_keyframes=5, decay_iterations=100.0, decay_floor=0.1)


def test_parts_may_learn_after_enough_keyframes_and_not_before():
    schedule, learns = Schedule(CONFIG), []
    for _ in range(6):
        learns.append((schedule.learns_geometry, schedule.learns_pose))
        schedule.saw_keyframe(0.5)
    no, geometry, both = (False, False), (True, False), (True, True)
    assert learns == [no, no, no, geometry, geometry, both]


def test_iterations_alone_open_no_gate():
    """Ten thousand steps on one picture are no evidence of a second side."""
    schedule = Schedule(CONFIG)
    schedule.saw_keyframe(1.0)
    for _ in range(10_000):
        schedule.stepped()
    assert not schedule.learns_geometry and not schedule.learns_pose


def test_parts_wait_for_their_iterations_as_well():
    """Offline all views are there at once; then the delays count steps."""
    schedule, learns = Schedule(replace(CONFIG, geometry_after_iterations=2, pose_after_iterations=4)), []
    for _ in range(5):
        schedule.saw_keyframe(0.5)
    for _ in range(5):
        learns.append((schedule.learns_geometry, schedule.learns_pose))
        schedule.stepped()
    no, geometry, both = (False, False), (True, False), (True, True)
    assert learns == [no, no, geometry, geometry, both]


def test_the_rate_halves_in_the_given_number_of_stale_iterations():
    schedule = Schedule(CONFIG)
    assert schedule.rate == 1
    for _ in range(100):
        schedule.stepped()
    assert schedule.rate == pytest.approx(0.5)


def test_a_new_keyframe_wins_back_its_share():
    schedule = Schedule(CONFIG)
    for _ in range(200):
        schedule.stepped()
    schedule.saw_keyframe(0.5)
    assert schedule.rate == pytest.approx(0.5)
    schedule.saw_keyframe(1.0)
    assert schedule.rate == 1


@given(st.lists(st.floats(0.001, 1) | st.integers(1, 300), max_size=30))
def test_the_rate_falls_with_steps_rises_with_news_and_stays_above_its_floor(events: list):
    schedule = Schedule(CONFIG)
    for event in events:
        before = schedule.rate
        if isinstance(event, float):
            schedule.saw_keyframe(event)
            assert schedule.rate >= before
        else:
            for _ in range(event):
                schedule.stepped()
            assert schedule.rate <= before
        assert CONFIG.decay_floor <= schedule.rate <= 1
