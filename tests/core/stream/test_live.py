"""Live sources over devices that the test plays. Kind: behaviour; waits are for events, never for a time to pass."""

import threading
from queue import Queue

import numpy as np
import pytest

from fmgs_core.stream import Clock, SourceConfig, SourceError, open_source
from fmgs_core.stream.live import LiveSource, Pictures

FAST = SourceConfig(reconnect_attempts=3, reconnect_delay_s=0.0)
LOST, END = object(), object()


class Device:
    """A camera driven by the test: `send` a stamp, LOST or END; `grabbed` waits until it was taken."""

    def __init__(self, opens: int = 100):
        self.inbox: Queue = Queue()
        self.opened = self.released = 0
        self.opens = opens

    def send(self, *items: object) -> None:
        for item in items:
            self.inbox.put(item)

    def pictures(self) -> Pictures:
        if self.opened >= self.opens:
            raise SourceError("gone for good")
        self.opened += 1
        try:
            while (item := self.inbox.get(timeout=10)) is not END:
                self.inbox.task_done()
                if item is LOST:
                    raise SourceError("cable out")
                yield item, np.full((4, 6, 3), 7, np.uint8)
            self.inbox.task_done()
        finally:
            self.released += 1

    def grabbed(self) -> None:
        self.inbox.join()


@pytest.fixture
def device() -> Device:
    return Device()


def live(device: Device, config: SourceConfig = FAST, **options) -> LiveSource:
    return LiveSource("cam", device.pictures, config, **options)


def closed_by(device: Device, source: LiveSource) -> None:
    """A device whose grab blocks for good would hold up closing; this one ends."""
    device.send(END)
    source.close()


def test_frames_come_with_the_devices_stamps(device):
    device.send(5)
    source = live(device)
    assert source.live and source.length is None and source.camera_is_estimated and not source.ended
    assert source.read().stamp_ns == 5
    device.send(9)
    frame = source.read()
    assert frame.stamp_ns == 9 and frame.camera.K[0, 0] == pytest.approx(7.2)
    closed_by(device, source)
    assert source.read() is None and source.ended and device.released == 1


def test_the_newest_wins_and_the_rest_is_counted(device):
    device.send(1)
    source = live(device)
    device.send(2, 3, 4, END)
    source._thread.join(10)
    assert source.read().stamp_ns == 4
    assert source.dropped == 3
    assert source.read() is None and source.ended


def test_a_stream_that_ends_is_no_loss(device, warnings):
    device.send(1, END)
    source = live(device, on_warning=warnings.append)
    assert source.read().stamp_ns == 1
    assert source.read() is None and source.ended and warnings == []


def test_old_frames_are_not_handed_out(device, fake_clock):
    device.send(1)
    source = live(device, clock=Clock(fake_clock.now_s, fake_clock.sleep_s))
    fake_clock.advance(1.0)
    assert source.read_latest(0.0) is None
    assert source.dropped == 1 and not source.ended
    closed_by(device, source)


def test_read_latest_gives_a_fresh_frame(device):
    device.send(1)
    with live(device) as source:
        assert source.read_latest(10.0).stamp_ns == 1
        device.send(END)


def test_opening_is_all_or_nothing(device):
    device.send(LOST)
    with pytest.raises(SourceError, match="cable out"):
        live(device)
    assert (device.opened, device.released) == (1, 1)
    assert not any(thread.name == "grab cam" for thread in threading.enumerate())


def test_a_device_without_a_first_picture_does_not_open(device):
    device.send(END)
    with pytest.raises(SourceError, match="ended before its first picture"):
        live(device)
    assert device.released == 1


def test_a_lost_device_is_opened_again(device, warnings):
    device.send(10)
    source = live(device, on_warning=warnings.append)
    assert source.read().stamp_ns == 10
    # The clock of the device starts anew; the stream must not step back.
    device.send(LOST, 3)
    assert source.read().stamp_ns == 11
    assert device.opened == 2 and device.released == 1
    assert warnings == ["cam: lost (cable out); opening it again, attempt 1 of 3"]
    closed_by(device, source)


def test_attempts_are_bounded_and_the_reader_hears_of_it(warnings):
    device = Device(opens=1)
    device.send(1)
    source = live(device, on_warning=warnings.append)
    assert source.read().stamp_ns == 1
    device.send(LOST)
    for _ in range(2):
        with pytest.raises(SourceError, match="cam: lost, and 3 attempts to open it again failed: gone for good"):
            source.read()
    assert len(warnings) == 3
    source.close()


def test_a_missing_camera_says_what_exists():
    with pytest.raises(SourceError, match="camera 97: expected a camera of this machine, got none; there is"):
        open_source("97")


def test_a_dead_url_does_not_open():
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:9/stream"):
        open_source("http://127.0.0.1:9/stream")
