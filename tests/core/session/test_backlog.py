"""What waits between the observer and training is bounded, and what had to go is counted. Kind: behaviour."""

import threading
from dataclasses import replace

import pytest

from fmgs_core.config import Pace
from fmgs_core.session.backlog import MAX_WAITING, Backlog
from fmgs_core.session.events import Event, FrameTracked
from fmgs_core.session.session import Session
from fmgs_core.training.trainer import Trainer
from tests.core.session.scene import BODY, CONFIG, Script, person


def test_the_oldest_goes_and_the_end_is_never_lost():
    backlog = Backlog()
    items = [ValueError(str(i)) for i in range(MAX_WAITING + 3)]
    for item in items:
        backlog.put(item)
    assert (len(backlog), backlog.dropped) == (MAX_WAITING, 3)
    backlog.put(None)
    assert [backlog.take() for _ in range(MAX_WAITING)] == [*items[4:], None]
    assert backlog.dropped == 4
    with pytest.raises(IndexError):
        backlog.take()


def test_waiting_ends_when_something_comes():
    backlog = Backlog()
    backlog.wait(0.01)
    assert not len(backlog)
    threading.Timer(0.05, backlog.put, (None,)).start()
    backlog.wait(60.0)
    assert len(backlog) == 1


def test_a_stream_faster_than_training_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch):
    """The stream runs to its end within the first training step: what waited too long is dropped and counted."""
    shots = [person(i % 8) for i in range(3 * MAX_WAITING)]
    script, over, longest = Script(shots), threading.Event(), 0
    step, put = Trainer.step, Backlog.put

    def slow_step(trainer: Trainer):
        over.wait(60)
        return step(trainer)

    def watched_put(backlog: Backlog, item):
        nonlocal longest
        put(backlog, item)
        longest = max(longest, len(backlog))
        if item is None:
            over.set()

    monkeypatch.setattr(Trainer, "step", slow_step)
    monkeypatch.setattr(Backlog, "put", watched_put)
    told: list[int] = []
    stop = threading.Event()

    def hear(event: Event) -> None:
        if isinstance(event, FrameTracked):
            told.append(event.index)
            if event.index == len(shots) - 1:
                stop.set()

    config = replace(CONFIG, budget_s=60.0)  # never spent: the last frame ends it
    result = Session(script, script, script, BODY, config, hear, stop=stop).run(Pace.LIVE)
    assert longest == MAX_WAITING and result.frames == len(shots)
    assert told == sorted(told) and told[-1] == len(shots) - 1
    assert result.progress[-1].frames_dropped == len(shots) - len(told) > 0
