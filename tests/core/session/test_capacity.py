"""When a session gives its avatar more Gaussians. Kinds: behaviour, refusal."""

import threading
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fmgs_core.body.subdivision import Subdivision, subdivided
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.session import Session
from fmgs_core.session.capacity import RATE_SPAN_S, Capacity
from fmgs_core.session.events import Event, FrameTracked, Progress, SnapshotTaken, SwitchedOn
from fmgs_core.training.schedule import Part, ScheduleConfig
from fmgs_core.training.trainer import Trainer

from .scene import BODY, CONFIG, ManualClock, Script, StreamClock, turning
from .test_session import run, same

KEPT, MANY = len(BODY.kept_faces), 26_000
GROWING = replace(CONFIG, gaussians=MANY)
DIVISION = subdivided(BODY, MANY)


class Told(Trainer):
    """Of which only what the decision looks at is there."""

    def __init__(self, no_new_side: str | None, settled: bool = False, gaussians: int = KEPT):
        self.iterations, self.switched = 0, []
        self.avatar = cast(Any, SimpleNamespace(faces=range(gaussians)))
        schedule = SimpleNamespace(
            no_new_side=no_new_side, settled=settled, switch_on=lambda part, why: self.switched.append((part, why))
        )
        self.schedule = cast(Any, schedule)

    def grow(self, division: Subdivision) -> None:
        self.avatar.faces = range(len(division.parents))


def grows_beside_a_stream(
    told: Told, steps_per_s: float, least: float = 18.0, seconds: float = 3 * RATE_SPAN_S, streaming: bool = True
) -> bool:
    clock = ManualClock()
    capacity = Capacity(DIVISION, least, clock)
    while clock.now_s < seconds:
        told.iterations += 1
        clock.advance(1 / steps_per_s)
        capacity.stepped(told, streaming=streaming)
    return len(told.avatar.faces) == MANY


ALL_SEEN = "seen from all around"
JUST_ENOUGH = 18.0 * MANY / KEPT


def test_beside_a_stream_it_grows_when_all_is_seen_and_steps_stay_fast_enough():
    assert grows_beside_a_stream(told := Told(ALL_SEEN), 1.05 * JUST_ENOUGH)
    assert told.switched == [(Part.CAPACITY, f"{ALL_SEEN}, 19 steps/s will be left: {KEPT} to {MANY} Gaussians")]


def test_not_while_new_sides_may_come():
    assert not grows_beside_a_stream(Told(None, settled=True), 100.0)


def test_not_when_steps_would_come_too_slowly():
    assert not grows_beside_a_stream(Told(ALL_SEEN), 0.95 * JUST_ENOUGH)
    assert grows_beside_a_stream(Told(ALL_SEEN), 0.95 * JUST_ENOUGH, least=0.0)


def test_not_before_the_speed_is_known():
    assert not grows_beside_a_stream(Told(ALL_SEEN), 100.0, seconds=0.9 * RATE_SPAN_S)


def test_however_slow_when_more_steps_no_longer_help():
    assert grows_beside_a_stream(Told(ALL_SEEN, settled=True), 2.0)


def test_at_pace_all_after_the_last_frame():
    events: list[Event] = []
    config = replace(GROWING, save_every_s=1e-9)
    result = run(list(turning(4)), config, on_event=events.append)
    order = [e for e in events if isinstance(e, FrameTracked) or (isinstance(e, SwitchedOn) and e.what == Part.CAPACITY.value)]
    assert isinstance(order[-1], SwitchedOn) and all(isinstance(e, FrameTracked) for e in order[:-1])
    sizes = [len(e.snapshot.tensors["observed"]) for e in events if isinstance(e, SnapshotTaken)]
    assert sizes == [KEPT] * 4 + [MANY] * (CONFIG.final_iterations + 1)
    assert len(result.avatar.faces) == MANY and result.progress[-1].gaussians == MANY
    assert [s.what for s in result.switches] == [e.what for e in events if isinstance(e, SwitchedOn)]


def test_at_pace_all_the_same_bit_for_bit():
    assert same(run(list(turning(3)), GROWING).snapshot, run(list(turning(3)), GROWING).snapshot)


def test_no_more_gaussians_without_steps_to_teach_them():
    assert len(run(list(turning(3)), replace(GROWING, final_iterations=0)).avatar.faces) == KEPT


def test_after_a_live_stream_the_residual_is_waited_for_whatever_the_speed():
    assert not grows_beside_a_stream(Told(ALL_SEEN), 100.0, streaming=False)
    assert grows_beside_a_stream(Told(ALL_SEEN, settled=True), 2.0, streaming=False)


def test_live_when_the_stream_has_ended_and_the_residual_settled():
    """It settles at once: any fall of less than 99 % counts as none."""
    schedule = ScheduleConfig(plateau_steps=1, plateau_fall=0.99)
    config = replace(GROWING, least_iterations_per_s=1e6, trainer=replace(CONFIG.trainer, schedule=schedule))
    result = run(list(turning(4)), config, pace=Pace.LIVE)
    assert len(result.avatar.faces) == MANY
    assert "the stream ended" in next(s.why for s in result.switches if s.what == Part.CAPACITY.value)


def test_a_stopped_session_does_not_grow_on_its_way_out():
    stop = threading.Event()
    result = run(
        list(turning(4)),
        GROWING,
        pace=Pace.LIVE,
        stop=stop,
        on_event=lambda e: stop.set() if isinstance(e, FrameTracked) else None,
    )
    assert len(result.avatar.faces) == KEPT and result.reason == "stopped by the user"


def test_a_grown_avatar_is_resumed_as_it_is_and_one_that_was_not_grows():
    grown = run(list(turning(3)), GROWING).snapshot
    again = run(list(turning(3)), replace(CONFIG, gaussians=27_000), resume=grown)
    assert len(again.avatar.faces) == MANY and again.snapshot.iterations > grown.iterations
    assert not any(s.what == Part.CAPACITY.value for s in again.switches)
    assert len(run(list(turning(3)), GROWING, resume=run(list(turning(3))).snapshot).avatar.faces) == MANY


def test_switches_come_before_the_end_with_yaw_and_time():
    """23 degrees from one frame to the next: each of the eight shows 20 new ones."""
    script = Script(list(turning(8)))
    clock, events = StreamClock(script), []
    Session(script, script, script, BODY, CONFIG, events.append, clock_s=clock).run(Pace.ALL)
    switches = [e for e in events if isinstance(e, SwitchedOn)]
    assert [s.what for s in switches] == [Part.GEOMETRY.value]
    assert switches[0].why.startswith("4 keyframes, ") and switches[0].elapsed_s > 0
    progress = [e for e in events if isinstance(e, Progress)]
    assert progress[-1].yaw_deg == pytest.approx(8 * 20, abs=8)
    assert all(a.yaw_deg <= b.yaw_deg for a, b in pairwise(progress))


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match=r"SessionConfig\.least_iterations_per_s: expected at least 0, got -1"):
        SessionConfig(least_iterations_per_s=-1.0)
