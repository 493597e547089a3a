"""Behaviour of sessions on scripted streams: what is said, what is kept, and what a bad frame or a broken stage may not do."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.priors import Box
from fmgs_core.session import NobodyFound, Session, SessionResult
from fmgs_core.session import session as session_module
from fmgs_core.session.events import (
    Event,
    Finished,
    FrameTracked,
    Progress,
    SnapshotTaken,
    SourceOpened,
    StatusChanged,
    Warned,
)
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.second_look import SecondLook
from fmgs_core.tracking.tracker import TrackedBody, TrackingStatus
from fmgs_core.types import BodyState, Frame, Keypoints, PriorMaps

from .scene import BODY, CONFIG, FRAME_NS, ManualClock, Script, Shot, StreamClock, nobody, person, stranger, turning

PACES = [Pace.ALL, Pace.LIVE]
SEARCHING, TRACKING, LOST = TrackingStatus.SEARCHING, TrackingStatus.TRACKING, TrackingStatus.LOST


def make(script: Script, config: SessionConfig = CONFIG, on_event: Callable[[Event], None] = lambda _: None, **other: Any):
    clock = StreamClock(script)

    def hear(event: Event) -> None:
        clock.hear(event)
        on_event(event)

    return Session(script, script, script, BODY, config, hear, **({"clock_s": clock} | other))


def run(shots: list[Shot] | Script, config: SessionConfig = CONFIG, pace: Pace = Pace.ALL, **other: Any) -> SessionResult:
    return make(shots if isinstance(shots, Script) else Script(shots), config, **other).run(pace)


def same(a: AvatarSnapshot, b: AvatarSnapshot) -> bool:
    return all(torch.equal(value, b.tensors[name]) for name, value in a.tensors.items())


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events]


# -- events


@pytest.mark.parametrize("pace", PACES)
def test_the_source_is_announced_first_and_the_end_last(pace: Pace):
    events: list[Event] = []
    run(list(turning(4)), pace=pace, on_event=events.append)
    assert kinds(events)[0] is SourceOpened and kinds(events)[-1] is Finished
    assert kinds(events).count(SourceOpened) == kinds(events).count(Finished) == 1
    assert kinds(events)[-2] is SnapshotTaken and kinds(events)[-3] is Progress
    assert [e.index for e in events if isinstance(e, FrameTracked)] == [0, 1, 2, 3]


def test_the_source_is_announced_with_what_it_knows():
    events: list[Event] = []
    run([person(0)], on_event=events.append)
    assert events[0] == SourceOpened("script", 48, 48, 10.0, 1, float(person(0).camera.K[0, 0]), True)


@pytest.mark.parametrize("pace", PACES)
def test_events_come_from_the_sessions_own_thread(pace: Pace):
    threads = set()
    script = Script(list(turning(3)))
    session = make(script, on_event=lambda _: threads.add(threading.get_ident()))
    script.on_read = lambda index: session.warn(f"frame {index}")
    session.run(pace)
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("pace", PACES)
def test_warnings_come_once_and_after_the_source(pace: Pace):
    events: list[Event] = []
    script = Script(list(turning(4)))
    session = make(script, on_event=events.append)
    session.warn("said while the source was opened")
    script.on_read = lambda index: session.warn("said with every frame")
    result = session.run(pace)
    said = [e.message for e in events if isinstance(e, Warned)]
    assert said == result.warnings == ["said while the source was opened", "said with every frame"]
    assert kinds(events)[0] is SourceOpened


def test_changes_of_status_are_said_once_each():
    events: list[Event] = []
    shots = [nobody(status=SEARCHING)] * 2 + [person(0), person(1)] + [nobody()] * 2 + [person(2)]
    run(shots, on_event=events.append)
    changes = [(e.before, e.after) for e in events if isinstance(e, StatusChanged)]
    assert changes == [(SEARCHING, TRACKING), (TRACKING, LOST), (LOST, TRACKING)]


def test_progress_counts_per_second_of_the_clock():
    """Half a second passes with every frame, and two steps are made after each: 2 frames and 4 iterations a second."""
    clock = ManualClock()
    script = Script(list(turning(7)), on_read=lambda _: clock.advance(0.5))
    config = replace(CONFIG, iterations_per_frame=2, final_iterations=0, progress_every_s=0.1)
    result = make(script, config, clock_s=clock).run(Pace.ALL)
    middle = result.progress[2]
    assert (middle.frames_per_s, middle.iterations_per_s) == (pytest.approx(2), pytest.approx(4))
    assert (result.progress[-1].frames, result.progress[-1].iterations) == (7, 14)
    assert all(np.isfinite(p.loss) for p in result.progress[:-1])


def test_snapshots_come_on_their_beat():
    clock, taken = ManualClock(), []
    script = Script(list(turning(10)), on_read=lambda _: clock.advance(1.0))
    config = replace(CONFIG, save_every_s=3.0)
    make(script, config, lambda e: taken.append(e) if isinstance(e, SnapshotTaken) else None, clock_s=clock).run(Pace.ALL)
    assert [event.snapshot.iterations for event in taken] == [1, 4, 7, 10, 12]


def test_a_checkpoint_is_what_a_run_of_that_length_leaves():
    """A second passes with every frame, one step follows each: after 3 s three steps, and the poses of three frames."""

    def after(frames: int, checkpoints_s: tuple[float, ...] = ()) -> SessionResult:
        clock = ManualClock()
        script = Script(list(turning(frames)), on_read=lambda _: clock.advance(1.0))
        config = replace(CONFIG, final_iterations=0)
        return make(script, config, clock_s=clock, checkpoints_s=checkpoints_s).run(Pace.ALL)

    early, late = after(7, (5.5, 3.0, 100.0)).checkpoints
    assert (early.elapsed_s, late.elapsed_s) == (3.0, 6.0)
    for checkpoint, whole in ((early, after(3)), (late, after(6))):
        assert checkpoint.snapshot.iterations == whole.snapshot.iterations and same(checkpoint.snapshot, whole.snapshot)
        assert checkpoint.states.keys() == whole.states.keys()
        assert all(np.array_equal(state.pose, whole.states[stamp].pose) for stamp, state in checkpoint.states.items())


def test_a_snapshot_does_not_change_after_it_was_taken():
    taken: list[AvatarSnapshot] = []
    run(
        list(turning(3)),
        replace(CONFIG, save_every_s=1e-9),
        on_event=lambda e: taken.append(e.snapshot) if isinstance(e, SnapshotTaken) else None,
    )
    assert not same(taken[0], taken[-1])


# -- frames that show nobody, or nobody that is believed


@pytest.mark.parametrize("pace", PACES)
def test_a_stream_without_a_person_says_so_and_takes_no_snapshot(pace: Pace):
    events: list[Event] = []
    with pytest.raises(NobodyFound, match=r"script: 3 frames looked at, a person to learn from in none \(the stream ended\)"):
        run([nobody(status=SEARCHING)] * 3, pace=pace, on_event=events.append)
    assert SnapshotTaken not in kinds(events)
    assert events[-1] == Finished("the stream ended")


def test_frames_without_the_person_change_nothing_of_what_was_learned():
    """Bit for bit: frames with nobody, and frames that are not believed, leave the same avatar as no frames at all."""
    config = replace(CONFIG, iterations_per_frame=0, final_iterations=6)
    known = [person(0), person(1), person(2)]
    alone = run(known, config)
    disturbed = run([nobody(status=SEARCHING), known[0], stranger(5), nobody(), known[1], stranger(7), known[2]], config)
    assert same(alone.snapshot, disturbed.snapshot)
    assert (disturbed.frames, disturbed.frames_with_person) == (7, 3)
    assert len(disturbed.states) == 3


def test_a_believed_frame_does_change_it():
    config = replace(CONFIG, iterations_per_frame=0, final_iterations=6)
    known = [person(0), person(1)]
    assert not same(run(known, config).snapshot, run([*known, replace(stranger(5), confidence=0.9)], config).snapshot)


def wearing(shot: Shot, color: tuple[int, int, int]) -> Shot:
    assert shot.mask is not None
    return replace(shot, rgb=np.where(shot.mask[..., None] > 0, color, shot.rgb).astype(np.uint8))


def test_somebody_else_who_comes_after_the_person_left_is_not_learned_from():
    """Bit for bit the same avatar as without them, said once per appearance, and the person is known again afterwards."""
    config = replace(CONFIG, template_maps=True, iterations_per_frame=0, final_iterations=4)
    others = [wearing(person(i), (30, 160, 30)) for i in (1, 2)]
    alone = run([person(0), person(1), person(2)], config)
    visited = run([person(0), person(1), nobody(), *others, nobody(), *others, nobody(), person(2)], config)
    assert same(alone.snapshot, visited.snapshot)
    assert [w.split(" (")[0] for w in visited.warnings] == [
        f"whoever appeared at {stamp} s does not look like the person learned so far" for stamp in ("0.30", "0.60")
    ]
    assert visited.frames_with_person == 3


def test_everybody_is_learned_from_when_asked_to():
    config = replace(CONFIG, template_maps=True, max_unlikeness=1.0)
    result = run([person(0), nobody(), wearing(person(1), (30, 160, 30))], config)
    assert result.frames_with_person == 2 and not result.warnings


def test_a_person_without_a_mask_is_not_learned_from():
    with pytest.raises(NobodyFound):
        run([replace(person(0), mask=None)])


def test_training_goes_on_while_the_person_is_away():
    result = run([person(0), nobody(), nobody()])
    assert result.snapshot.iterations == 3 + CONFIG.final_iterations


def test_pictures_may_change_their_size():
    result = run([person(0), person(1), person(2, 32), person(3, 64)])
    assert result.frames_with_person == 4
    assert all(torch.isfinite(value).all() for value in result.snapshot.tensors.values())


def test_one_frame_is_enough():
    result = run([person(0)], replace(CONFIG, final_iterations=0, iterations_per_frame=0))
    assert result.snapshot.iterations == 0 and len(result.states) == 1


# -- ends


@pytest.mark.parametrize("pace", PACES)
def test_a_source_that_breaks_counts_as_ended_and_what_it_showed_is_learned(pace: Pace):
    events: list[Event] = []
    result = run(Script(list(turning(5)), source_breaks_at=3), pace=pace, on_event=events.append)
    assert result.frames == 3 and result.snapshot.iterations >= 3
    assert result.warnings == ["the source broke: a page is torn out"]
    assert result.reason == "the source broke: a page is torn out" and events[-1] == Finished(result.reason)


def test_a_source_that_breaks_before_a_person_was_seen_says_why():
    with pytest.raises(NobodyFound, match="a page is torn out"):
        run(Script([nobody()] * 5, source_breaks_at=3))


@pytest.mark.parametrize("pace", PACES)
def test_a_stage_that_breaks_costs_nothing_that_was_learned(pace: Pace):
    """The error is the prior's own, and the last snapshot and the reason were handed out before it."""
    events: list[Event] = []
    # Three frames are taken in before the prior breaks; live, the second snapshot could come before any training.
    with pytest.raises(ValueError, match="forgot its weights"):
        run(Script(list(turning(5)), prior_breaks_at=3), pace=pace, on_event=events.append)
    assert kinds(events)[-2:] == [SnapshotTaken, Finished]
    assert events[-2].snapshot.frames_seen == 3
    assert "ValueError: the network forgot its weights" in events[-1].reason


def test_a_stage_that_breaks_at_once_leaves_nothing_to_save():
    events: list[Event] = []
    with pytest.raises(ValueError, match="forgot its weights"):
        run(Script(list(turning(2)), prior_breaks_at=0), on_event=events.append)
    assert kinds(events) == [Finished]


@pytest.mark.parametrize("pace", PACES)
def test_stopping_ends_after_the_step_under_way(pace: Pace):
    stop, events = threading.Event(), []

    def stop_at_the_second_frame(event: Event) -> None:
        events.append(event)
        if isinstance(event, FrameTracked) and event.index == 1:
            stop.set()

    result = run(list(turning(6)), pace=pace, on_event=stop_at_the_second_frame, stop=stop)
    assert result.reason == "stopped by the user" and events[-1] == Finished(result.reason)
    assert kinds(events)[-2] is SnapshotTaken
    assert result.frames_with_person >= 2
    if pace is Pace.ALL:
        assert (result.frames, result.snapshot.iterations) == (2, 1)


def test_a_live_session_ends_with_its_budget():
    result = run(list(turning(3)), pace=Pace.LIVE)
    assert result.reason == "the budget was spent"
    assert result.snapshot.iterations > 3


def test_no_thread_stays_behind():
    with pytest.raises(ValueError, match="forgot its weights"):
        run(Script(list(turning(5)), prior_breaks_at=2), pace=Pace.LIVE)
    run(list(turning(3)), pace=Pace.LIVE)
    assert not [t for t in threading.enumerate() if t.name == "fmgs-observer"]


# -- the same again, and on from there


def test_the_same_frames_give_the_same_avatar_bit_for_bit():
    assert same(run(list(turning(4))).snapshot, run(list(turning(4))).snapshot)


def test_another_seed_gives_another_avatar():
    other = replace(CONFIG, trainer=replace(CONFIG.trainer, seed=1))
    assert not same(run(list(turning(4))).snapshot, run(list(turning(4)), other).snapshot)


def test_resuming_adds_up_and_does_not_start_over():
    config = replace(CONFIG, iterations_per_frame=8)
    first = run(list(turning(4)), config)
    second = run(list(turning(4)), config, resume=first.snapshot)
    assert second.snapshot.iterations == 2 * first.snapshot.iterations
    assert second.snapshot.frames_seen == 8
    # Loss of the first steps: a new avatar starts at its grey; 10 % below is far outside the noise of one step.
    assert second.progress[0].loss < 0.9 * first.progress[0].loss


def test_resuming_keeps_the_clothes_that_were_learned():
    guess = np.full(BODY.num_vertices, 0.02, np.float32)
    guessing = [replace(person(i), inflation=guess) for i in range(2)]
    first = run(list(turning(3)), replace(CONFIG, final_iterations=0))
    resumed = run(guessing, replace(CONFIG, iterations_per_frame=0, final_iterations=0), resume=first.snapshot)
    fresh = run(guessing, replace(CONFIG, iterations_per_frame=0, final_iterations=0))
    offset = "field.normal_offset"
    assert torch.equal(resumed.snapshot.tensors[offset], first.snapshot.tensors[offset])
    assert torch.allclose(fresh.snapshot.tensors[offset], torch.tensor(0.02))


def test_resuming_on_another_body_is_refused():
    snapshot = replace(run([person(0)]).snapshot, body_name="smplx")
    with pytest.raises(ValueError, match="expected 'smplx' as the snapshot says, got 'default'"):
        make(Script([person(0)]), resume=snapshot)


@pytest.mark.parametrize("name", ["budget_s", "max_frame_age_s", "progress_every_s", "measure_every_s", "save_every_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_seconds_that_are_not_positive_are_refused(name: str, value: float):
    with pytest.raises(ValueError, match=rf"SessionConfig\.{name}: expected more than zero seconds, got {value}"):
        SessionConfig(**{name: value})


def test_counts_that_are_negative_are_refused():
    with pytest.raises(ValueError, match=r"SessionConfig\.final_iterations: expected at least 0, got -1"):
        SessionConfig(final_iterations=-1)


def test_a_live_stream_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    """Of 12 states at most 4 and those of the keyframes are kept, the newest among them."""
    monkeypatch.setattr("fmgs_core.session.tracked_states.MAX_STATES", 4)
    few = replace(CONFIG, trainer=replace(CONFIG.trainer, memory=replace(CONFIG.trainer.memory, budget=2)))
    shots = list(turning(12))
    endless = run(Script(shots, live=True), few)
    recorded = run(Script(shots), few)
    newest = max(recorded.states)
    assert len(recorded.states) == 12 and len(endless.states) <= 4 + 3 and newest in endless.states
    assert same(endless.snapshot, recorded.snapshot)


def test_times_of_stages_can_be_asked_for_while_it_runs():
    asked: list[dict[str, float]] = []
    session = make(Script(list(turning(2))), on_event=lambda e: asked.append(session.timings_ms()))
    session.run(Pace.ALL)
    assert {"prior", "tracker", "keyframe", "training step"} <= set(asked[-1])


# -- pauses


def later(action: Callable[[], None]) -> threading.Thread:
    """Runs it in a tenth of a second: time enough to do what a paused session must not do."""
    timer = threading.Timer(0.1, action)
    timer.start()
    return timer


def test_frames_that_come_during_a_pause_are_dropped_and_counted():
    script, stop = Script(list(turning(6))), threading.Event()
    session = make(script, on_event=lambda e: stop.set() if isinstance(e, FrameTracked) and e.index == 2 else None, stop=stop)
    session.pause()
    # Called by the watching thread, before it looks at the fourth frame.
    script.on_read = lambda index: session.resume() if index == 3 else None
    result = session.run(Pace.LIVE)
    assert (result.frames, result.frames_with_person) == (3, 3)
    assert result.progress[-1].frames_dropped == 3 and not session.paused


def test_a_paused_live_session_does_not_train():
    events: list[Event] = []
    heard_at_resume: list[int] = []

    def hear(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and not heard_at_resume:
            session.pause()
            later(wake)

    def wake() -> None:
        heard_at_resume.append(sum(isinstance(e, Progress) for e in events))
        session.resume()

    session = make(Script(list(turning(3))), on_event=hear)
    result = session.run(Pace.LIVE)
    assert heard_at_resume[0] == 1 and result.snapshot.iterations > 3


def test_a_pause_at_pace_all_changes_nothing_of_what_is_learned():
    """Bit for bit; no frame is read in the meantime."""
    given: list[int] = []

    def hear(event: Event) -> None:
        if isinstance(event, FrameTracked) and event.index == 1:
            session.pause()
            later(lambda: (given.append(script.given), session.resume()))

    script = Script(list(turning(4)))
    session = make(script, on_event=hear)
    paused = session.run(Pace.ALL)
    assert given == [2] and same(paused.snapshot, run(list(turning(4))).snapshot)


@pytest.mark.parametrize("pace", PACES)
def test_a_paused_session_can_be_stopped(pace: Pace):
    stop = threading.Event()
    session = make(Script(list(turning(4))), stop=stop)
    session.pause()
    later(stop.set)
    with pytest.raises(NobodyFound, match="stopped by the user"):
        session.run(pace)


def test_a_tracked_frame_is_told_with_its_picture_and_state():
    events: list[Event] = []
    run([person(0), nobody()], on_event=events.append)
    seen, empty = [e for e in events if isinstance(e, FrameTracked)]
    assert seen.state is person(0).state and seen.maps.mask is person(0).mask
    assert seen.frame.stamp_ns == seen.stamp_ns and seen.frame.rgb is person(0).rgb
    assert empty.state is None


class Stamped(FrameEvidence):
    """Evidence of nothing but its time."""

    def __init__(self, stamp_ns: int):
        object.__setattr__(self, "stamp_ns", stamp_ns)


class SecondGlance(SecondLook):
    """Says of every frame that the person stood further to the right; due once, after three frames, and at the end."""

    def __init__(self, *_: object):
        self.stamps: list[int] = []
        self.new = 0

    def add(self, evidence: FrameEvidence) -> None:
        self.stamps.append(evidence.stamp_ns)
        self.new += 1

    def attach(self, stamp_ns: int, keypoints: Keypoints) -> bool:
        return stamp_ns in self.stamps

    @property
    def due(self) -> bool:
        return len(self.stamps) == 3

    @property
    def behind(self) -> bool:
        return self.new > 0

    def states(self, stopped: Callable[[], bool] = lambda: False) -> dict[int, BodyState]:
        self.new = 0
        return {stamp: moved(stamp) for stamp in self.stamps}


def moved(stamp_ns: int) -> BodyState:
    state = person(stamp_ns // FRAME_NS).state
    assert state is not None
    return replace(state, transl=state.transl + np.array([0.25, 0.0, 0.0], np.float32))


class WithEvidence(Script):
    def update(self, frame: Frame, maps: PriorMaps) -> TrackedBody:
        return replace(super().update(frame, maps), evidence=Stamped(frame.stamp_ns))


@pytest.mark.parametrize("pace", PACES)
def test_what_the_second_look_says_is_what_is_left(pace: Pace, monkeypatch: pytest.MonkeyPatch):
    """For the keyframes, and for all states, the last frame's included, which no later one made due."""
    monkeypatch.setattr(session_module, "SecondLook", SecondGlance)
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, refine_pose=False))
    result = run(WithEvidence(list(turning(5))), config=config, pace=pace)
    assert "second look" in result.timings_ms
    for stamp_ns, state in result.states.items():
        np.testing.assert_allclose(state.transl, moved(stamp_ns).transl, atol=1e-6)
    assert len(result.states) == 5


@pytest.mark.parametrize("pace", PACES)
def test_a_stop_reaches_the_second_look_and_nobody_waits_for_another(pace: Pace, monkeypatch: pytest.MonkeyPatch):
    """What it gives when it is broken off is taken whole; what came after it is not looked at again."""
    stop, looks = threading.Event(), list[int]()

    class BrokenOff(SecondGlance):
        def states(self, stopped: Callable[[], bool] = lambda: False) -> dict[int, BodyState]:
            assert not stopped()
            stop.set()
            assert stopped()
            looks.append(len(self.stamps))
            return super().states(stopped)

        @property
        def behind(self) -> bool:
            return True  # there would be more to look at

    monkeypatch.setattr(session_module, "SecondLook", BrokenOff)
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, refine_pose=False))
    result = run(WithEvidence(list(turning(6))), config=config, pace=pace, stop=stop)
    assert looks == [3] and result.reason == "stopped by the user"
    for stamp_ns in [0, FRAME_NS, 2 * FRAME_NS]:
        np.testing.assert_allclose(result.states[stamp_ns].transl, moved(stamp_ns).transl, atol=1e-6)


class PoseModel:
    """A slow model that gives nothing but landmarks."""

    name = "a pose model"

    def maps(self, frame: Frame, person: Box) -> PriorMaps:
        return PriorMaps(keypoints=Keypoints("coco17", np.full((17, 3), float(frame.stamp_ns))))

    def close(self) -> None: ...


@pytest.mark.parametrize("pace", PACES)
def test_landmarks_of_a_slow_model_reach_the_second_look_at_their_frame(pace: Pace, monkeypatch: pytest.MonkeyPatch):
    attached = dict[int, Keypoints]()

    class Attached(SecondGlance):
        def attach(self, stamp_ns: int, keypoints: Keypoints) -> bool:
            assert stamp_ns in self.stamps, "before its frame was added"
            attached[stamp_ns] = keypoints
            return True

    monkeypatch.setattr(session_module, "SecondLook", Attached)
    result = run(WithEvidence(list(turning(5))), pace=pace, model=PoseModel())
    assert result.side_car is not None and result.side_car.failures == 0
    assert attached and (pace is Pace.LIVE or len(attached) == 5)
    for stamp_ns, keypoints in attached.items():
        assert keypoints.layout == "coco17" and (keypoints.points == stamp_ns).all()
