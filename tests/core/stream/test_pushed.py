"""A source that others fill. Kind: behaviour; waits are for events, never for a time to pass."""

import threading

import numpy as np
import pytest

from fmgs_core.stream import Clock, FrameSource, SourceConfig
from fmgs_core.stream.intrinsics import CameraGuess
from fmgs_core.stream.pushed import Pending, PushedSource
from fmgs_core.types import Frame

JOIN_S = 10.0  # never waited for when the code is right
SECOND_NS = 1_000_000_000


def frame(stamp_ns: int, side: int = 6) -> Frame:
    return CameraGuess(None).frame(stamp_ns, np.full((4, side, 3), 7, np.uint8))


def stamps(source: PushedSource) -> list[int]:
    """What is left, to the end."""
    return [f.stamp_ns for f in iter(source.read, None)]


def test_it_is_a_frame_source_and_open_without_a_picture():
    source = PushedSource("topic", camera_is_estimated=lambda: True)
    assert isinstance(source, FrameSource)
    assert source.live and not source.ended and source.camera_is_estimated and source.dropped == 0


def test_in_order_up_to_its_capacity_and_the_oldest_gives_way():
    source = PushedSource("topic", capacity=3)
    assert all(source.push(frame(i)) for i in range(1, 6))
    source.end()
    assert not source.ended
    assert (stamps(source), source.dropped) == ([3, 4, 5], 2)
    assert source.ended and not source.push(frame(9))


def test_the_newest_is_read_and_the_rest_is_counted():
    source = PushedSource("topic", capacity=4)
    for i in range(1, 5):
        source.push(frame(i))
    latest = source.read_latest(10.0)
    assert latest is not None and latest.stamp_ns == 4 and source.dropped == 3
    assert source.read_latest(0.0) is None


def test_pictures_age_from_their_push_on(fake_clock):
    source = PushedSource("topic", clock=Clock(fake_clock.now_s, fake_clock.sleep_s))
    source.push(frame(1))
    fake_clock.advance(0.5)
    assert source.read_latest(0.4) is None and source.dropped == 1
    source.push(frame(2))
    assert source.read_latest(0.4) is not None


def test_a_push_that_waits_loses_nothing():
    """300 frames through one place: all come, in order."""
    source = PushedSource("bag", capacity=1)

    def fill() -> None:
        for i in range(300):
            source.push(frame(i), wait=True)
        source.end()

    writer = threading.Thread(target=fill, daemon=True)
    writer.start()
    assert stamps(source) == list(range(300)) and source.dropped == 0
    writer.join(JOIN_S)


@pytest.mark.parametrize("leave", [PushedSource.end, PushedSource.close])
def test_whoever_waits_is_woken_at_the_end(leave):
    full, empty, answers = PushedSource("full"), PushedSource("empty"), []
    full.push(frame(1))
    threads = [
        threading.Thread(target=lambda: answers.append(full.push(frame(2), wait=True)), daemon=True),
        threading.Thread(target=lambda: answers.append(empty.read()), daemon=True),
    ]
    for thread in threads:
        thread.start()
    leave(full)
    leave(empty)
    for thread in threads:
        thread.join(JOIN_S)
    assert sorted(answers, key=str) == [False, None]


def test_what_comes_late_is_left_out_and_a_stream_may_start_anew(warnings):
    source = PushedSource("topic", capacity=9, on_warning=warnings.append)
    taken = [source.push(frame(t)) for t in (5 * SECOND_NS, 5 * SECOND_NS, 4 * SECOND_NS, 6 * SECOND_NS, SECOND_NS)]
    assert taken == [True, False, False, True, True] and source.dropped == 2
    assert warnings == ["topic: stamps step back by 5.0 s; the stream counts as started anew"]
    source.end()
    assert stamps(source) == [5 * SECOND_NS, 6 * SECOND_NS, SECOND_NS]


def test_only_what_is_read_is_decoded():
    decoded = []

    def pending(stamp_ns: int) -> Pending:
        return Pending(stamp_ns, lambda: decoded.append(stamp_ns) or frame(stamp_ns))

    source = PushedSource("topic", capacity=3)
    for i in range(1, 4):
        source.push(pending(i))
    assert source.read_latest(10.0) is not None
    assert decoded == [3]


def test_a_picture_that_cannot_be_read_costs_only_itself(warnings):
    def broken() -> Frame:
        raise ValueError("the JPEG is cut")

    source = PushedSource("topic", capacity=3, on_warning=warnings.append)
    source.push(Pending(1, broken))
    source.push(frame(2))
    source.end()
    assert stamps(source) == [2] and source.dropped == 1
    assert warnings == ["topic: a picture is left out: the JPEG is cut"]


def test_large_pictures_are_shrunk_as_asked():
    source = PushedSource("topic", SourceConfig(max_side_px=3))
    source.push(frame(1, side=6))
    shrunk = source.read()
    assert shrunk is not None and shrunk.rgb.shape == (2, 3, 3) and shrunk.camera.width == 3


def test_closing_counts_what_nobody_read():
    with PushedSource("topic") as source:
        source.push(frame(1))
    assert source.dropped == 1 and source.ended and source.read() is None


def test_no_room_at_all_is_refused():
    with pytest.raises(ValueError, match=r"PushedSource\.capacity: expected at least 1, got 0"):
        PushedSource("topic", capacity=0)
