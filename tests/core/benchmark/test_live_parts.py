"""The endless recording, on a clock that is moved by hand, and the viewer beside a session. Kind: behaviour, exact cases."""

import threading
from pathlib import Path

import numpy as np
import pytest

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.benchmark.latency import LiveRun, live_rows, live_run, recorded_frames
from fmgs_core.benchmark.pacing import PacedLoop
from fmgs_core.benchmark.person import turning_person
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.benchmark.viewer import Viewer
from fmgs_core.body.default import default_body
from fmgs_core.body.subdivision import subdivided
from fmgs_core.config import SessionConfig
from fmgs_core.session.events import SnapshotTaken
from fmgs_core.session.warmup import warm_up
from fmgs_core.stream.source import Clock
from fmgs_core.tracking.tracker import TrackedBody, TrackingStatus
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Frame

BODY = default_body()
REPOSITORY = Path(__file__).parents[3]


def numbered(count: int) -> list[Frame]:
    camera = Camera(np.diag([10.0, 10.0, 1.0]), 2, 2, T_CAMERA_WORLD_UNPOSED)
    return [Frame(1_000 * i, np.full((2, 2, 3), i, np.uint8), camera) for i in range(count)]


class Hands:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now_s = 5.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def clock(self) -> Clock:
        return Clock(lambda: self.now_s, self.sleep)


def test_frames_go_forth_and_back_at_the_asked_rate():
    source = PacedLoop(numbered(3), 20.0)
    read = [source.read() for _ in range(8)]
    assert [int(f.rgb[0, 0, 0]) for f in read if f] == [0, 1, 2, 1, 0, 1, 2, 1]
    assert [f.stamp_ns for f in read if f] == [50_000_000 * i for i in range(8)]


def test_one_frame_is_repeated():
    source = PacedLoop(numbered(1), 20.0)
    assert all(source.read() is not None for _ in range(5))


def test_the_age_counts_from_when_the_frame_was_due():
    hands = Hands()
    source = PacedLoop(numbered(3), 20.0, hands.clock())
    first, second = source.read_latest(0.2), source.read_latest(0.2)
    assert first is not None and second is not None
    assert hands.now_s == pytest.approx(5.05)
    assert source.age_s(second.stamp_ns) == pytest.approx(0.0, abs=1e-9)
    hands.sleep(0.125)
    assert source.age_s(second.stamp_ns) == pytest.approx(0.125)
    late = source.read_latest(0.2)
    assert late is not None and late.stamp_ns == 150_000_000 and source.dropped == 1


class Poses:
    """A tracker that knows where the person stands."""

    def __init__(self, state):
        self.state = state

    def update(self, frame: Frame, maps) -> TrackedBody:
        status = TrackingStatus.LOST if self.state is None else TrackingStatus.TRACKING
        return TrackedBody(self.state, status, 1.0, False, None)


def test_every_tracked_frame_becomes_a_view_once_there_is_an_avatar():
    view = turning_person(BODY, 1, 48, 40)[0]
    aged = threading.Event()

    def age_s(stamp_ns: int) -> float:
        aged.set()
        return 0.25

    with Viewer(BODY, Poses(view.state), age_s) as viewer:
        viewer.update(view.frame, view.maps)  # nobody has an avatar to draw yet
        viewer.hear(SnapshotTaken(AvatarSnapshot.of(Avatar(BODY), 1, 1)))
        tracked = viewer.update(Frame(7, view.frame.rgb, view.frame.camera), view.maps)
        assert aged.wait(60)
    assert tracked.state is view.state
    assert viewer.views[-1] == (7, 0.25)


def test_the_newest_snapshot_is_drawn_in_its_own_shape():
    view = turning_person(BODY, 1, 48, 40)[0]
    taller = np.zeros(BODY.shapedirs.shape[-1], np.float32)
    taller[0] = 1.0
    viewer = Viewer(BODY, Poses(view.state), lambda stamp_ns: 0.0)
    for betas in (np.zeros_like(taller), taller):
        avatar = Avatar(BODY, betas)
        avatar.observed += betas[0]
        viewer._draw(AvatarSnapshot.of(avatar, 1, 1), 0, view.state, view.frame.camera)
        assert viewer._avatar is not None
        np.testing.assert_array_equal(viewer._avatar.betas, betas)
        assert float(viewer._avatar.observed.max()) == betas[0]


def test_a_snapshot_that_has_grown_is_drawn_with_all_of_its_gaussians():
    view = turning_person(BODY, 1, 48, 40)[0]
    viewer = Viewer(BODY, Poses(view.state), lambda stamp_ns: 0.0)
    grown = Avatar(subdivided(BODY, len(BODY.kept_faces) + 500).body)
    for avatar in (Avatar(BODY), grown):
        viewer._draw(AvatarSnapshot.of(avatar, 1, 1), 0, view.state, view.frame.camera)
        assert viewer._avatar is not None and viewer._avatar.observed.shape == avatar.observed.shape
    assert len(grown.observed) > len(BODY.kept_faces)


def test_nobody_tracked_is_not_drawn():
    view = turning_person(BODY, 1, 48, 40)[0]
    with Viewer(BODY, Poses(None), lambda stamp_ns: 0.0) as viewer:
        viewer.hear(SnapshotTaken(AvatarSnapshot.of(Avatar(BODY), 1, 1)))
        viewer.update(view.frame, view.maps)
    assert viewer.views == []


def test_what_breaks_the_viewer_is_raised_where_it_is_closed():
    view = turning_person(BODY, 1, 48, 40)[0]

    def age_s(stamp_ns: int) -> float:
        raise ValueError("no clock")

    with pytest.raises(ValueError, match="no clock"), Viewer(BODY, Poses(view.state), age_s) as viewer:
        viewer.hear(SnapshotTaken(AvatarSnapshot.of(Avatar(BODY), 1, 1)))
        viewer.update(view.frame, view.maps)


def test_a_live_session_with_everything_beside_it_gives_views():
    """With the real prior and tracker; how fast they are is the machine's affair, that they come is not."""
    frames = recorded_frames(BenchmarkConfig(sample=REPOSITORY / "samples" / "dressed_a"))[:40]
    config = SessionConfig(budget_s=8.0, save_every_s=0.5)
    warm_up(BODY, config, lambda event: None)  # compiling kernels may take longer than the session
    run = live_run(BODY, frames, 15.0, config)
    assert run.ages_s and min(run.ages_s) > 0
    assert run.iterations_per_s > 0 and run.frames > 0 and run.dropped >= 0


def test_the_rows_of_a_live_run():
    run = LiveRun([0.1] * 19 + [0.5], iterations_per_s=20.0, frames=30, dropped=10)
    values = {row.name: (row.value, row.unit, row.ratio) for row in live_rows(15.0, run, 5.0)}
    assert values["stamp to view at 15 Hz, median"] == (pytest.approx(100), "ms", pytest.approx(20))
    # numpy's percentile: 0.95 of the way over 19 gaps is 0.05 of the last one.
    assert values["stamp to view at 15 Hz, p95"] == (pytest.approx(120), "ms", pytest.approx(24))
    assert values["training beside 15 Hz"] == (20.0, "1/s", pytest.approx(0.1))
    assert values["frames tracked at 15 Hz"] == (0.75, "ratio", None)
    assert all(row.ratio is None for row in live_rows(15.0, run, None))
