"""What render_node is made of, without ROS. Kinds: round trip, behaviour (which avatar is drawn when), poison."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, save_avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.subdivision import subdivided
from fmgs_core.geometry import rigid
from fmgs_core.transport import SnapshotClient, SnapshotServer
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED
from fmgs_ros.avatar_keeper import AvatarKeeper, AvatarMaker
from fmgs_ros.diagnostics import Health, Level, judged
from fmgs_ros.parameter_tree import leaves
from fmgs_ros.render_config import BodyConfig, DriveConfig, FetchConfig, RenderConfig, ViewConfig
from fmgs_ros.render_scene import Latencies, camera_pose_of_view, fill_rigid, motion_at, rigid_of, view_in_optical

BODY = default_body()


@cache
def snapshot(red: float = 0.0) -> AvatarSnapshot:
    avatar = Avatar(BODY)
    with torch.no_grad():
        avatar.field.color_logit[:, 0] = red
    return AvatarSnapshot.of(avatar, 1, 1)


def drawn_red(keeper: AvatarKeeper) -> float | None:
    return None if keeper.current is None else float(keeper.current.avatar.field.color_logit[0, 0].detach())


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


@contextmanager
def running(keeper: AvatarKeeper, timeout_s: float = 0.3) -> Iterator[None]:
    stop, client = threading.Event(), SnapshotClient(timeout_s)
    thread = threading.Thread(target=keeper.run, args=(client, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        client.close()
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def maker() -> AvatarMaker:
    return AvatarMaker(BODY)


def test_the_newest_snapshot_is_drawn(maker: AvatarMaker):
    with SnapshotServer() as server, running(keeper := AvatarKeeper(maker)):
        for red in (1.0, 2.0):
            keeper.announce(server.publish(snapshot(red)))
            until(lambda red=red: drawn_red(keeper) == red)
        assert keeper.current is not None and (keeper.current.version, keeper.problem) == (2, None)


def test_the_last_good_one_stays_while_the_trainer_is_away_and_the_next_is_drawn_when_it_is_back(maker: AvatarMaker):
    problems: list[str] = []
    with running(keeper := AvatarKeeper(maker, retry_s=0.1, on_problem=problems.append)):
        with SnapshotServer() as server:
            keeper.announce(server.publish(snapshot(1.0)))
            until(lambda: drawn_red(keeper) == 1.0)
            lost = server.publish(snapshot(2.0))
        keeper.announce(lost)
        until(lambda: keeper.problem is not None)
        assert drawn_red(keeper) == 1.0 and "is the trainer running?" in str(keeper.problem)
        with SnapshotServer(lost.endpoint) as server:
            until(lambda: "gone" in str(keeper.problem))  # it asks again by itself; the new trainer knows no such version
            assert drawn_red(keeper) == 1.0
            keeper.announce(server.publish(snapshot(3.0)))
            until(lambda: drawn_red(keeper) == 3.0)
        assert keeper.problem is None and len(problems) == 1  # said once, not with every attempt


def test_a_silent_trainer_is_asked_until_it_answers(maker: AvatarMaker):
    with SnapshotServer() as server:
        announcement = server.publish(snapshot(1.0))
    with running(keeper := AvatarKeeper(maker, retry_s=0.1)):
        keeper.announce(announcement)
        until(lambda: keeper.problem is not None)
        with SnapshotServer(announcement.endpoint) as server:
            published = server.publish(snapshot(1.0))
            server._shelf._versions[-1] = replace(server._shelf._versions[-1], avatar_id=announcement.avatar_id)
            assert published.sha256 == announcement.sha256
            until(lambda: drawn_red(keeper) == 1.0)


def test_an_avatar_on_another_body_is_refused_and_the_last_one_stays(maker: AvatarMaker):
    with SnapshotServer() as server, running(keeper := AvatarKeeper(maker)):
        keeper.announce(server.publish(snapshot(1.0)))
        until(lambda: drawn_red(keeper) == 1.0)
        keeper.announce(server.publish(replace(snapshot(2.0), body_name="smplx")))
        until(lambda: keeper.problem is not None)
        assert drawn_red(keeper) == 1.0 and "expected 'smplx' as the snapshot says" in str(keeper.problem)


def test_a_file_holds_until_the_trainer_is_asked_for_again(maker: AvatarMaker, tmp_path: Path):
    save_avatar(tmp_path / "avatar.safetensors", snapshot(5.0))
    with SnapshotServer() as server, running(keeper := AvatarKeeper(maker)):
        keeper.announce(server.publish(snapshot(1.0)))
        until(lambda: drawn_red(keeper) == 1.0)
        assert keeper.load(tmp_path / "avatar.safetensors").result(10).startswith("drawing ")
        assert drawn_red(keeper) == 5.0 and keeper.current is not None and keeper.current.version == 0
        keeper.announce(server.publish(snapshot(2.0)))
        time.sleep(0.3)
        assert drawn_red(keeper) == 5.0
        with pytest.raises(ValueError, match="avatar file: expected an existing file, got"):
            keeper.load(tmp_path / "gone.safetensors").result(10)
        assert drawn_red(keeper) == 5.0
        keeper.load(None).result(10)
        until(lambda: drawn_red(keeper) == 2.0)


def test_stopping_ends_a_fetch_in_progress(maker: AvatarMaker):
    """`running` fails when the thread outlives it."""
    with SnapshotServer() as server:
        announcement = server.publish(snapshot())
    with running(keeper := AvatarKeeper(maker), timeout_s=60.0):
        keeper.announce(announcement)
        time.sleep(0.3)
    assert keeper.problem is None  # being stopped is none


def test_snapshots_of_one_run_share_the_divided_mesh():
    maker = AvatarMaker(BODY, fill_unseen=False)
    finer = AvatarSnapshot.of(Avatar(subdivided(BODY, 27_000).body), 1, 1)
    first, second, coarse = (maker.make(s) for s in (finer, finer, snapshot()))
    assert first.body is second.body and len(first.faces) >= 27_000
    assert len(coarse.faces) == len(BODY.kept_faces)


def test_what_was_never_seen_is_filled_in():
    avatar = Avatar(BODY)
    with torch.no_grad():
        avatar.observed[:1000] = 100
        avatar.field.color_logit[:1000] = 3.0
    made = [AvatarMaker(BODY, fill_unseen=fill).make(AvatarSnapshot.of(avatar, 1, 1)) for fill in (True, False)]
    assert (
        float(made[0].field.color_logit[1000:].detach().mean()) > 1
        and float(made[1].field.color_logit[1000:].detach().abs().max()) == 0
    )


def stamped(T: np.ndarray) -> tuple[SimpleNamespace, SimpleNamespace]:
    position, orientation = SimpleNamespace(), SimpleNamespace()
    fill_rigid(position, orientation, T)
    return position, orientation


def test_poses_survive_messages():
    T = rigid(Rotation.from_rotvec([0.3, -1.2, 2.0]).as_matrix(), np.array([1.0, -2.0, 3.0]))
    np.testing.assert_allclose(rigid_of(*stamped(T)), T, atol=1e-12)


@pytest.mark.parametrize("bad", [{"w": 0.0}, {"w": math.nan}])
def test_a_quaternion_of_no_length_is_refused(bad: dict):
    orientation = SimpleNamespace(x=0.0, y=0.0, z=0.0, **bad)
    with pytest.raises(ValueError, match="pose: expected finite numbers and a quaternion of some length"):
        rigid_of(SimpleNamespace(x=0.0, y=0.0, z=0.0), orientation)


def test_a_view_at_the_camera_is_the_cameras():
    np.testing.assert_allclose(camera_pose_of_view(np.eye(4)), T_CAMERA_WORLD_UNPOSED)


def test_a_view_moved_right_sees_the_person_further_left():
    """0.5 m to the right in the optical frame, whose x is the picture's right."""
    T_view_world = camera_pose_of_view(rigid(np.eye(3), np.array([0.5, 0.0, 0.0])))
    person_world = np.array([0.0, 0.0, -3.0, 1.0])
    np.testing.assert_allclose(T_view_world @ person_world, [-0.5, 0, 3, 1], atol=1e-12)
    np.testing.assert_allclose(view_in_optical(T_view_world)[:3, 3], [0.5, 0, 0], atol=1e-12)


def test_a_motion_goes_round_and_round():
    states = [replace(BODY.neutral_state(), transl=np.array([i, 0.0, 0.0])) for i in range(4)]
    played = [motion_at(states, 10.0, t).transl[0] for t in (-5.0, 0.0, 0.05, 0.1, 0.35, 0.4, 1.25)]
    assert played == [0, 0, 0, 1, 3, 0, 0]


def test_latencies_of_the_last_hundred():
    latencies = Latencies()
    assert latencies.figures() == {}
    for value in [1000.0] * 50 + [float(i) for i in range(1, 101)]:
        latencies.add(value)
    figures = latencies.figures()
    assert figures["latency median [ms]"] == 50.5 and figures["latency p95 [ms]"] == pytest.approx(95.05)


def test_every_option_is_a_parameter_with_words():
    tree = leaves(RenderConfig())
    assert {"view.mode", "view.lens.fov_deg", "view.around.period_s", "drive.rate_hz", "avatar_file", "background"} <= {
        leaf.path for leaf in tree
    }
    assert all(len(leaf.description) > 20 for leaf in tree)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ViewConfig(mode="frame"), "ViewConfig.frame"),
        (lambda: DriveConfig(mode="file"), "DriveConfig.file"),
        (lambda: DriveConfig(rate_hz=0.0), "DriveConfig.rate_hz"),
        (lambda: DriveConfig(fps=math.nan), "DriveConfig.fps"),
        (lambda: FetchConfig(timeout_s=0.0), "FetchConfig.timeout_s"),
        (lambda: RenderConfig(background=(0, 0, 256)), "RenderConfig.background"),
        (lambda: RenderConfig(jpeg_quality=0), "RenderConfig.jpeg_quality"),
        (lambda: RenderConfig(frame_id=""), "RenderConfig.frame_id"),
        (lambda: RenderConfig(output_qos="FAST"), "RenderConfig.output_qos"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(make: Callable[[], object], named: str):
    with pytest.raises(ValueError, match=f"{named}: expected"):
        make()


def test_the_default_body_is_found():
    assert BodyConfig().load() is BODY


def test_a_warning_comes_before_idleness_and_after_a_fault():
    health = Health(active=True, warning="the trainer is away", idle="nobody subscribes")
    assert judged(health)[:2] == (Level.WARN, "the trainer is away")
    assert judged(replace(health, fault="broken"))[:2] == (Level.ERROR, "broken")
    assert judged(replace(health, active=False))[0] is Level.OK
