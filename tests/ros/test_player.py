"""Sources played in real time. Kind: behaviour, on a clock that only waiting moves."""

import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.stream import Clock, SourceConfig
from fmgs_ros.player import CaptureConfig, Played, Player

NOW_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000


class FakeTime:
    """Stands still but for waits."""

    def __init__(self):
        self.now_s = 50.0

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.now_s += seconds
        return stop.is_set()

    def now_ns(self) -> int:
        return NOW_NS + round((self.now_s - 50.0) * 1e9)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four pictures, ten a second."""
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((6, 8, 3), 40 * i, np.uint8))
    return tmp_path


def config(pictures: Path, **other) -> CaptureConfig:
    return replace(CaptureConfig(str(pictures), reader=SourceConfig(fps_override=10.0)), **other)


def played(config: CaptureConfig, count: int | None = None) -> tuple[list[Played], list[float]]:
    """What comes, and when; the first `count` of them."""
    time, stop, out, when = FakeTime(), threading.Event(), [], []
    clock = Clock(lambda: time.now_s, lambda seconds: None)
    with Player(config, time.now_ns, clock=clock, wait=time.wait) as player:
        for item in player.play(stop):
            out.append(item)
            when.append(time.now_s - 50.0)
            if len(out) == count:
                stop.set()
    return out, when


@pytest.mark.parametrize(("speed", "gap"), [(1.0, 0.1), (4.0, 0.025)])
def test_a_recording_comes_at_its_pace(pictures: Path, speed: float, gap: float):
    out, when = played(config(pictures, speed=speed))
    assert when == pytest.approx([0, gap, 2 * gap, 3 * gap])
    assert [int(p.frame.rgb[0, 0, 0]) for p in out] == [0, 40, 80, 120]


def test_stamps_of_the_source_are_kept(pictures: Path):
    out, _ = played(config(pictures, stamps="source", speed=2.0))
    assert [p.stamp_ns - out[0].stamp_ns for p in out] == [0, STEP_NS, 2 * STEP_NS, 3 * STEP_NS]
    assert out[0].stamp_ns == out[0].frame.stamp_ns


@pytest.mark.parametrize("stamps", ["shifted", "now"])
def test_other_stamps_are_times_of_day(pictures: Path, stamps: str):
    out, _ = played(config(pictures, stamps=stamps, speed=2.0))
    assert [p.stamp_ns - NOW_NS for p in out] == pytest.approx([0, STEP_NS // 2, STEP_NS, 3 * STEP_NS // 2], abs=200)


def test_a_loop_goes_on_with_rising_stamps(pictures: Path):
    out, when = played(config(pictures, loop=True, stamps="source"), count=9)
    assert np.diff([p.stamp_ns for p in out]).tolist() == [STEP_NS] * 8
    assert when == pytest.approx(np.arange(9) * 0.1)
    assert [int(p.frame.rgb[0, 0, 0]) for p in out[4:]] == [0, 40, 80, 120, 0]


def test_a_reader_that_is_late_loses_nothing(pictures: Path):
    time = FakeTime()
    clock = Clock(lambda: time.now_s, lambda seconds: None)
    with Player(config(pictures), time.now_ns, clock=clock, wait=time.wait) as player:
        count = 0
        for _ in player.play(threading.Event()):
            time.now_s += 1.0
            count += 1
    assert count == 4 and player.laps == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ""}, "CaptureConfig.source: expected a camera index"),
        ({"speed": 0.0}, "CaptureConfig.speed: expected more than zero, got 0.0"),
        ({"jpeg_quality": 101}, "CaptureConfig.jpeg_quality: expected 1 to 100, got 101"),
        ({"output_qos": "FAST"}, "CaptureConfig.output_qos: expected one of"),
    ],
)
def test_nonsense_is_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        replace(CaptureConfig(), **changes)


def test_a_source_that_is_not_there_does_not_open(tmp_path: Path):
    with pytest.raises(ValueError, match="expected a camera index, a URL, or an existing file or folder"):
        Player(CaptureConfig(str(tmp_path / "none.mp4")))
