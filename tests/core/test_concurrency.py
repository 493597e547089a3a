"""The newest-wins slot and the beat. Kind: behaviour; threads wait on conditions, the beat runs on a fake clock."""

import threading
import time

import pytest

from fmgs_core.concurrency import Cadence, Latest

LONG_S, JOIN_S = 120.0, 5.0  # never waited for when the code is right


class FakeClock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_newest_wins_and_the_rest_is_counted():
    slot = Latest[int]()
    for value in range(5):
        slot.put(value)
    assert (slot.take(0.0), slot.dropped) == (4, 4)
    slot.put(5)
    assert (slot.take(0.0), slot.dropped) == (5, 4)


def test_a_value_is_taken_once():
    slot = Latest[str]()
    slot.put("a")
    assert [slot.take(0.0), slot.take(0.0)] == ["a", None]


def test_an_empty_slot_gives_up_after_its_timeout():
    assert Latest[int]().take(0.01) is None


def _reader(slot: Latest, taken: list) -> threading.Thread:
    thread = threading.Thread(target=lambda: taken.append(slot.take(LONG_S)), daemon=True)
    thread.start()
    while thread.is_alive() and not slot._condition._waiters:  # type: ignore[attr-defined]
        time.sleep(1e-3)
    return thread


def test_put_wakes_a_waiting_reader():
    slot, taken = Latest[int](), []
    thread = _reader(slot, taken)
    slot.put(7)
    thread.join(JOIN_S)
    assert taken == [7]


def test_close_wakes_every_reader():
    slot, taken = Latest[int](), []
    threads = [_reader(slot, taken) for _ in range(3)]
    while len(slot._condition._waiters) < 3:  # type: ignore[attr-defined]
        time.sleep(1e-3)
    slot.close()
    for thread in threads:
        thread.join(JOIN_S)
    assert taken == [None] * 3 and slot.closed


def test_what_is_inside_at_closing_can_be_taken_and_then_nothing_blocks():
    slot = Latest[int]()
    slot.put(1)
    slot.close()
    assert [slot.take(LONG_S), slot.take(LONG_S)] == [1, None]


def test_nothing_is_lost_uncounted_between_threads():
    """Every value put is either taken or counted as dropped."""
    slot, taken = Latest[int](), []
    reader = threading.Thread(target=lambda: taken.extend(iter(lambda: slot.take(LONG_S), None)), daemon=True)
    reader.start()
    for value in range(3000):
        slot.put(value)
    slot.close()
    reader.join(LONG_S)
    assert len(taken) + slot.dropped == 3000
    assert taken == sorted(taken) and taken[-1] == 2999


def test_the_beat_is_due_at_once_and_then_once_a_period():
    clock = FakeClock()
    beat = Cadence(2.0, clock)
    due = []
    for clock.now_s in (100.0, 100.5, 101.9, 102.0, 102.1, 103.9, 104.0):
        due.append(beat.due())
    assert due == [True, False, False, True, False, False, True]


def test_a_beat_that_was_late_does_not_catch_up():
    clock = FakeClock()
    beat = Cadence(1.0, clock)
    due = []
    for clock.now_s in (100.0, 109.5, 110.0, 110.5):
        due.append(beat.due())
    assert due == [True, True, False, True]


def test_a_period_of_zero_is_always_due():
    beat = Cadence(0.0, FakeClock())
    assert beat.due() and beat.due()


def test_a_negative_period_is_refused():
    with pytest.raises(ValueError, match=r"Cadence.period_s: expected zero or more seconds, got -1"):
        Cadence(-1.0, FakeClock())
