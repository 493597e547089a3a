"""Recordings paced as live ones, re-timed and shrunk. Kind: behaviour, exact by a clock that the test owns."""

from collections.abc import Iterable

import numpy as np
import pytest

from fmgs_core.stream import Clock, SourceConfig
from fmgs_core.stream.intrinsics import CameraGuess
from fmgs_core.stream.replay import Damage, Frames, ReplaySource

MS = 1_000_000


def frames_at(stamps_ms: Iterable[int], size: tuple[int, int] = (4, 6)) -> Frames:
    guess = CameraGuess(None)
    for i, stamp in enumerate(stamps_ms):
        yield guess.frame(stamp * MS, np.full((*size, 3), i, np.uint8))


@pytest.fixture
def source(fake_clock):
    def of(stamps_ms: Iterable[int], config: SourceConfig | None = None, size: tuple[int, int] = (4, 6)) -> ReplaySource:
        clock = Clock(fake_clock.now_s, fake_clock.sleep_s)
        frames = frames_at(stamps_ms, size)
        return ReplaySource("r", frames, config or SourceConfig(), fps=10.0, length=None, estimated=lambda: True, clock=clock)

    return of


def stamps_ms(frames: Iterable) -> list[int]:
    return [frame.stamp_ns // MS for frame in frames]


def test_read_gives_every_frame_without_waiting(source, fake_clock):
    recording = source(range(0, 1000, 100))
    assert stamps_ms(iter(recording.read, None)) == list(range(0, 1000, 100))
    assert recording.ended and recording.read() is None and recording.dropped == 0
    assert fake_clock.slept_s == []


def test_a_fast_reader_gets_every_frame_at_its_time(source, fake_clock):
    recording, start, times = source(range(5000, 6000, 100)), fake_clock.time_s, []
    while (frame := recording.read_latest(1.0)) is not None:
        times.append((frame.stamp_ns // MS, fake_clock.time_s - start))
    assert [t for t, _ in times] == list(range(5000, 6000, 100))
    # 0.2 ms: a sleep is never shorter than 0.1 ms.
    np.testing.assert_allclose([at for _, at in times], np.arange(10) * 0.1, atol=2e-4)
    assert recording.dropped == 0 and recording.ended


def test_a_slow_reader_gets_the_newest_and_the_rest_is_counted(source, fake_clock):
    recording, got = source(range(0, 1000, 100)), []
    while (frame := recording.read_latest(1.0)) is not None:
        got.append(frame.stamp_ns // MS)
        fake_clock.advance(0.25)
    assert got == [0, 200, 500, 700, 900]
    assert recording.dropped == 5


def test_frames_that_are_too_old_are_not_handed_out(source, fake_clock):
    recording = source([0, 100, 200, 2000])
    assert recording.read_latest(0.05).stamp_ns == 0
    fake_clock.advance(0.5)
    assert recording.read_latest(0.05) is None and not recording.ended
    assert recording.dropped == 2
    assert recording.read_latest(2.0).stamp_ns == 2000 * MS


def test_waiting_ends_after_max_age(source, fake_clock):
    recording = source([0, 10_000])
    recording.read_latest(1.0)
    before = fake_clock.time_s
    assert recording.read_latest(0.3) is None
    assert fake_clock.time_s - before == pytest.approx(0.3, abs=2e-4)
    assert not recording.ended


def test_retiming(source):
    recording = source([7, 8, 500], SourceConfig(fps_override=20.0))
    assert recording.fps == 20
    assert stamps_ms(iter(recording.read, None)) == [7, 57, 107]


@pytest.mark.parametrize(("size", "expected"), [((480, 640), (240, 320)), ((640, 480), (320, 240)), ((100, 90), (100, 90))])
def test_large_pictures_are_shrunk_with_their_camera(source, size, expected):
    recording = source([0], SourceConfig(max_side_px=320), size)
    frame = recording.read()
    assert frame.rgb.shape[:2] == expected
    np.testing.assert_allclose(frame.camera.K[:2, 2], [expected[1] / 2, expected[0] / 2])
    assert frame.camera.K[0, 0] == pytest.approx(1.2 * max(expected))


def test_a_recording_without_a_frame_is_refused(source):
    with pytest.raises(ValueError, match="r: expected at least one readable picture, got none"):
        source([])


def test_closing_frees_what_the_frames_hold(source):
    freed = []

    def holding() -> Frames:
        try:
            yield from frames_at([0, 1, 2])
        finally:
            freed.append(True)

    recording = ReplaySource("r", holding(), SourceConfig(), fps=None, length=3, estimated=lambda: True, clock=Clock())
    with recording:
        recording.read()
        assert not freed
    assert freed and recording.ended and recording.read() is None


def test_damage_is_said_and_ends_in_an_error(warnings):
    damage = Damage("clip", warnings.append)
    for i in range(9):
        damage.bad(f"packet {i}", OSError("torn"))
    damage.good()
    damage.bad("packet 11", OSError("torn"))
    assert len(warnings) == 10 and warnings[0] == "clip: packet 0 is left out: torn"
    with pytest.raises(ValueError, match="clip: 10 unreadable parts in a row, the last one packet 20"):
        for i in range(12, 30):
            damage.bad(f"packet {i}", OSError("torn"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("focal_px", 0.0), ("focal_px", float("nan")), ("fps_override", -1.0), ("fps_override", float("inf")),
        ("max_side_px", 0), ("camera_size_px", (0, 480)), ("reconnect_attempts", -1), ("reconnect_delay_s", -0.1),
        ("reconnect_delay_s", float("nan")),
    ],
)  # fmt: skip
def test_config_names_the_bad_field(field: str, value: object):
    with pytest.raises(ValueError, match=f"SourceConfig.{field}: expected"):
        SourceConfig(**{field: value})
