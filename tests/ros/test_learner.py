"""Fits one after another on scripted streams. Kind: behaviour; waits are for events, never for a time to pass."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.config import Pace
from fmgs_core.types import Frame, PriorMaps
from fmgs_ros.learner import Learner, Listeners, State
from tests.core.session.scene import BODY, CONFIG, FRAME_NS, Script, turning

WAIT_S = 120.0  # never waited for when the code is right
LIVE = replace(CONFIG, save_every_s=1e-9, budget_s=1e6)


class Heard:
    """What a learner told, and a way to wait for it."""

    def __init__(self):
        self.told: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        self.listeners = Listeners(
            tracked=lambda frame, maps, tracked: self._add("tracked", frame.stamp_ns),
            began=lambda: self._add("began", None),
            snapshot=lambda snapshot: self._add("snapshot", snapshot),
            warned=lambda message: self._add("warned", message),
            failed=lambda what, error: self._add("failed", f"{what}: {error}"),
            mended=lambda: self._add("mended", None),
            told=lambda message: self._add("told", message),
        )

    def _add(self, kind: str, value: Any) -> None:
        with self._changed:
            self.told.append((kind, value))
            self._changed.notify_all()

    def of(self, kind: str) -> list[Any]:
        return [value for k, value in self.told if k == kind]

    def wait_for(self, kind: str, count: int = 1) -> Any:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, WAIT_S), (kind, count)
            return self.of(kind)[-1]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script says what the tracker finds."""
    monkeypatch.setattr("fmgs_ros.learner.BodyTracker", lambda *_: Tracking.script)


class Tracking:
    script: Script


@contextmanager
def learning(script: Script, config: Any = LIVE, **options: Any) -> Iterator[tuple[Learner, Heard]]:
    Tracking.script, heard = script, Heard()
    learner = Learner(script, script, BODY, config, heard.listeners, **options)
    thread = threading.Thread(target=learner.run, daemon=True)
    thread.start()
    try:
        yield learner, heard
    finally:
        learner.close()
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_it_learns_and_tells_and_its_avatar_stays_when_it_is_closed():
    with learning(Script(list(turning(3)))) as (learner, heard):
        assert learner.status.state is State.WAITING
        learner.begin()
        heard.wait_for("snapshot", 3)
        status = learner.status
        assert status.state is State.TRAINING and status.frames >= 1 and status.iterations >= 1
        assert status.gaussians == len(heard.of("snapshot")[0].tensors["observed"])
        assert {"prior", "tracker", "training step"} <= set(learner.timings_ms())
    assert learner.snapshot is heard.of("snapshot")[-1]
    assert heard.of("tracked") == [0, 100_000_000, 200_000_000]
    assert learner.status.message == "stopped by the user"


def test_going_on_from_an_avatar_shows_it_at_once_and_counts_on():
    with learning(Script(list(turning(3)))) as (learner, heard):
        learner.begin()
        heard.wait_for("snapshot", 3)
    kept: AvatarSnapshot = learner.snapshot
    with learning(Script(list(turning(3)))) as (learner, heard):
        learner.begin(kept, anew=False)
        heard.wait_for("snapshot", 3)
        assert learner.status.iterations >= kept.iterations
    assert heard.of("snapshot")[0] is kept and heard.of("began") == []
    assert learner.snapshot is not None and learner.snapshot.iterations > kept.iterations


def test_a_reset_forgets_the_avatar_and_hands_out_none_of_it_any_more():
    """The source has nothing left for the second fit, so that every snapshot is the first one's."""
    with learning(Script(list(turning(3)))) as (learner, heard):
        learner.begin()
        heard.wait_for("snapshot", 3)
        learner.begin()
        heard.wait_for("began", 2)
        assert learner.snapshot is None
    kinds = [kind for kind, _ in heard.told]
    assert "snapshot" not in kinds[len(kinds) - kinds[::-1].index("began") :]
    assert learner.status.iterations == 0


def test_a_pause_stops_the_training_and_survives_a_reset():
    with learning(Script(list(turning(3)))) as (learner, heard):
        learner.begin()
        heard.wait_for("snapshot", 2)
        learner.pause()
        assert learner.status.state is State.PAUSED and learner.status.iterations_per_s == 0
        # At most the step under way is finished.
        before = learner.status.iterations
        assert not threading.Event().wait(0.3) and learner.status.iterations <= before + 1
        learner.begin(learner.snapshot)
        heard.wait_for("began", 2)
        assert learner.status.state is State.PAUSED
        learner.go_on()
        assert learner.status.state is not State.PAUSED


def test_a_prior_that_breaks_is_told_and_a_reset_tries_again():
    script = Script(list(turning(4)), prior_breaks_at=1)
    with learning(script, retry_s=WAIT_S) as (learner, heard):
        learner.begin()
        assert heard.wait_for("failed") == "the training broke: the network forgot its weights"
        assert learner.status.state is State.FAILED
        assert learner.status.message == "ValueError: the network forgot its weights"
        script.prior_breaks_at = None
        learner.begin(learner.snapshot)
        heard.wait_for("snapshot", 3)
        assert learner.status.state is State.TRAINING


def test_what_breaks_is_tried_again_until_it_works_and_goes_on_from_what_was_learned():
    with learning(Stumbling(list(turning(6))), retry_s=0.01) as (learner, heard):
        learner.begin()
        heard.wait_for("failed", 2)
        heard.wait_for("mended")
        heard.wait_for("snapshot", len(heard.of("snapshot")) + 2)
        assert learner.status.state is State.TRAINING
    kinds = [kind for kind, _ in heard.told if kind in ("began", "failed", "mended")]
    assert kinds == ["began", "failed", "failed", "mended"]
    iterations = [snapshot.iterations for snapshot in heard.of("snapshot")]
    assert iterations == sorted(iterations) and heard.of("tracked") == [0, 100_000_000, 400_000_000, 500_000_000]


class Stumbling(Script):
    """Its prior breaks on two pictures in a row."""

    def predict(self, frame: Frame) -> PriorMaps:
        if frame.stamp_ns // FRAME_NS in (2, 3):
            raise ValueError("the network forgot its weights")
        return super().predict(frame)


def test_a_recording_that_breaks_is_not_tried_again():
    Tracking.script, heard = Script(list(turning(3)), prior_breaks_at=1), Heard()
    learner = Learner(Tracking.script, Tracking.script, BODY, CONFIG, heard.listeners, Pace.ALL, retry_s=0.01)
    learner.begin()
    assert learner.run_next() and learner.status.state is State.FAILED
    learner.close()
    assert not learner.run_next() and len(heard.of("failed")) == 1


def test_a_stream_without_a_person_is_no_failure():
    with learning(Script([])) as (learner, heard):
        learner.begin()
        heard.wait_for("began")
    assert learner.status.state is State.FINISHED and "a person to learn from in none" in learner.status.message
    assert heard.of("failed") == []


def test_a_recording_is_read_to_its_end():
    Tracking.script, heard = Script(list(turning(3))), Heard()
    learner = Learner(Tracking.script, Tracking.script, BODY, CONFIG, heard.listeners, Pace.ALL)
    learner.begin()
    assert learner.run_next()
    assert learner.status.state is State.FINISHED and learner.status.message == "the stream ended"
    assert learner.snapshot is not None and learner.snapshot.iterations == 3 + CONFIG.final_iterations
    learner.close()
    assert not learner.run_next()


class Beside:
    """A slow model that has nothing to say, and what the session asks of it."""

    name = "a slow model"

    def __init__(self):
        self.looks = 0

    def maps(self, frame: Frame, person: tuple[int, int, int, int]) -> PriorMaps:
        self.looks += 1
        return PriorMaps()

    def close(self) -> None:
        raise AssertionError("closing it is the node's")


def test_a_slow_model_looks_at_keyframes_and_what_was_checked_is_told():
    Tracking.script, heard, model = Script(list(turning(3))), Heard(), Beside()
    learner = Learner(Tracking.script, Tracking.script, BODY, CONFIG, heard.listeners, Pace.ALL, model=model)
    learner.begin()
    assert learner.run_next() and model.looks == 3
    assert [said.split(" map(s)")[0] for said in heard.of("told")] == ["a slow model: no normals or depth; by 3"]
