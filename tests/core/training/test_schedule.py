"""The schedule as a function of evidence. Kinds: behaviour, property."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmgs_core.training.schedule import Part, Schedule, ScheduleConfig

CONFIG = ScheduleConfig(
    geometry_after_keyframes=3,
    geometry_after_yaw_deg=40.0,
    pose_after_keyframes=5,
    pose_after_yaw_deg=90.0,
    no_new_side_frames=10,
    plateau_steps=20,
    decay_iterations=100.0,
    decay_floor=0.1,
)
RESIDUAL = torch.tensor(0.1)


def show(schedule: Schedule, frames: int, yaw_deg: float = 0.0, turn_deg: float = 0.0) -> None:
    """Frames that all become keyframes."""
    for i in range(frames):
        schedule.saw_frame(yaw_deg + i * turn_deg)
        schedule.saw_keyframe(1 / (schedule.keyframes_seen + 1))


def learns(schedule: Schedule) -> tuple[bool, bool]:
    return schedule.learns_geometry, schedule.learns_pose


NO, GEOMETRY, BOTH = (False, False), (True, False), (True, True)


def test_parts_may_learn_after_enough_keyframes_and_not_before():
    schedule, seen = Schedule(CONFIG), []
    for i in range(6):
        seen.append(learns(schedule))
        show(schedule, 1, 60.0 * i)
    assert seen == [NO, NO, NO, GEOMETRY, GEOMETRY, BOTH]


def test_keyframes_of_one_side_are_one_view():
    """A person who only waves: eight keyframes, 20 degrees."""
    schedule = Schedule(CONFIG)
    show(schedule, 8)
    assert learns(schedule) == NO
    show(schedule, 2, 20.0, 20.0)
    assert learns(schedule) == GEOMETRY


def test_who_turns_only_half_way_gets_everything_on():
    """80 of the 90 degrees that poses ask for, then no new side for ten frames."""
    schedule = Schedule(CONFIG)
    show(schedule, 7, 0.0, 10.0)
    assert learns(schedule) == GEOMETRY and schedule.coverage.degrees == pytest.approx(80, abs=5)
    show(schedule, 9, 60.0)
    assert schedule.no_new_side is None
    show(schedule, 1, 60.0)
    assert learns(schedule) == BOTH
    assert schedule.no_new_side == f"no new side in 10 frames, {schedule.coverage.degrees:.0f}° of yaw"


def test_what_is_on_stays_on_when_something_new_comes():
    schedule = Schedule(CONFIG)
    show(schedule, 20)
    assert learns(schedule) == BOTH
    show(schedule, 1, 90.0)
    assert schedule.no_new_side is None and learns(schedule) == BOTH
    assert [s.part for s in schedule.switched] == [Part.GEOMETRY, Part.POSE]


def test_at_the_end_of_the_stream_nothing_waits_for_more_sides():
    schedule = Schedule(CONFIG)
    show(schedule, 3)
    schedule.stream_ended()
    assert learns(schedule) == GEOMETRY, "three keyframes are too few for the poses, whatever comes"


def test_the_record_says_when_and_why():
    schedule = Schedule(CONFIG)
    for i in range(5):
        show(schedule, 1, 60.0 * i)
        schedule.stepped(RESIDUAL)
    geometry, pose = schedule.switched
    assert (geometry.keyframes, geometry.iterations) == (
        3,
        2,
    ) and geometry.why == f"3 keyframes, {geometry.yaw_deg:.0f}° of yaw"
    assert (pose.keyframes, pose.iterations) == (5, 4)


def test_iterations_alone_open_no_gate():
    """Ten thousand steps on one picture are no evidence of a second side."""
    schedule = Schedule(CONFIG, Part)
    show(schedule, 1)
    for _ in range(10_000):
        schedule.stepped(RESIDUAL)
    assert not schedule.switched


def test_parts_wait_for_their_iterations_as_well():
    """Offline all views are there at once; then the delays count steps."""
    schedule, seen = Schedule(replace(CONFIG, geometry_after_iterations=2, pose_after_iterations=4)), []
    show(schedule, 5, 0.0, 60.0)
    for _ in range(5):
        seen.append(learns(schedule))
        schedule.stepped(RESIDUAL)
    assert seen == [NO, NO, GEOMETRY, GEOMETRY, BOTH]


def settle(schedule: Schedule) -> int:
    """Steps until a residual that falls to a floor is found to be there."""
    for i in range(1000):
        if schedule.settled:
            return i
        schedule.stepped(torch.tensor(0.1 + 0.9**i))
    raise AssertionError("never")


def test_the_residual_settles_when_it_stops_falling_and_not_before():
    """0.9^i is a hundredth of the floor after 66 steps; windows of 20 steps see it by 100."""
    assert 60 <= settle(Schedule(CONFIG)) <= 120


def test_a_new_side_starts_the_residual_anew():
    schedule = Schedule(CONFIG)
    settle(schedule)
    show(schedule, 1)
    assert not schedule.settled
    settle(schedule)
    show(schedule, 1)
    assert schedule.settled, "a side that is known changes nothing"


def test_a_nan_says_nothing_of_the_residual():
    schedule = Schedule(CONFIG)
    for i in range(100):
        schedule.stepped(torch.tensor(float("nan") if i % 20 == 7 else 0.1))
    assert not schedule.settled
    settle(schedule)


def test_the_skinning_is_free_once_all_is_seen_and_explained():
    schedule = Schedule(CONFIG, [Part.SKINNING])
    settle(schedule)
    assert not schedule.frees_skinning
    schedule.stream_ended()
    assert schedule.frees_skinning


def test_offline_the_skinning_is_free_after_its_steps():
    schedule = Schedule(replace(CONFIG, skinning_after_iterations=3), [Part.SKINNING])
    for i in range(3):
        assert not schedule.frees_skinning, i
        schedule.stepped(RESIDUAL)
    assert schedule.frees_skinning


@pytest.mark.parametrize("name", ["geometry_after_yaw_deg", "pose_after_yaw_deg"])
def test_more_than_a_circle_is_refused(name: str):
    with pytest.raises(ValueError, match=rf"ScheduleConfig\.{name}: expected 0 to 360, got 361"):
        ScheduleConfig(**{name: 361.0})


def test_the_rate_halves_in_the_given_number_of_stale_iterations():
    schedule = Schedule(CONFIG)
    assert schedule.rate == 1
    for _ in range(100):
        schedule.stepped(RESIDUAL)
    assert schedule.rate == pytest.approx(0.5)


def test_a_new_keyframe_wins_back_its_share():
    schedule = Schedule(CONFIG)
    for _ in range(200):
        schedule.stepped(RESIDUAL)
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
                schedule.stepped(RESIDUAL)
            assert schedule.rate <= before
        assert CONFIG.decay_floor <= schedule.rate <= 1
