"""avatar_node on a real graph, fed by capture_node with the sample bag. Kinds: behaviour in numbers, round trips."""

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import LabelInfo, VisionInfo

from fmgs_core.avatar.snapshot import AvatarSnapshot, load_avatar
from fmgs_core.transport import Announcement, SnapshotClient
from fmgs_ros.convert import rgb_of, stamp_ns
from fmgs_ros.msg import AvatarSnapshot as SnapshotMessage
from fmgs_ros.msg import BodyState, TrainingStatus

from .harness import END_S, REPOSITORY, START_S, WAIT_S, Inbox, NodeProcess, Participant, participant, started, until
from .remote import Remote

SAMPLE = REPOSITORY / "samples" / "dressed_a"
# One Gaussian per face and small crops: this is about order and loss of things, not about quality.
SMALL = {"session.gaussians": 0, "session.trainer.memory.crop_max_px": 128}
PICTURES = {"~/image_raw": "/image_raw", "~/image_raw/compressed": "/image_raw/compressed", "~/camera_info": "/camera_info"}

HAS_HRI = find_spec("hri_msgs") is not None


@dataclass(frozen=True, eq=False)
class Stage:
    """A looping camera and a node that learns from it; topics are heard from the start."""

    graph: Participant
    node: NodeProcess
    remote: Remote
    pictures: Inbox
    states: Inbox
    status: Inbox
    snapshots: Inbox
    transforms: Inbox
    diagnostics: Inbox

    def status_where(self, wanted: Callable[[TrainingStatus], bool]) -> TrainingStatus:
        """One that comes from now on."""
        count = len(self.status.messages)
        until(lambda: any(map(wanted, self.status.messages[count:])), 60, lambda: f"got {self.status.messages[-1]}")
        return next(m for m in self.status.messages[count:] if wanted(m))


@pytest.fixture(scope="module")
def graph() -> Iterator[Participant]:
    with participant("avatar_test") as made:
        yield made


@pytest.fixture(scope="module")
def stage(graph: Participant, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    made = Stage(
        graph,
        NodeProcess("avatar_node", folder, SMALL | {"autostart": True, "body_id": "ann", "humans": HAS_HRI}),
        Remote(graph, "avatar_node"),
        graph.listen(CameraInfo, "/camera_info"),
        graph.listen(BodyState, "/avatar_node/body_state"),
        graph.listen(TrainingStatus, "/avatar_node/status"),
        graph.listen(SnapshotMessage, "/avatar_node/snapshot", latched=True),
        graph.listen(TFMessage, "/tf"),
        graph.listen(DiagnosticArray, "/diagnostics"),
    )
    camera = {"source": str(SAMPLE), "loop": True, "autostart": True, "start_when_subscribed": True, "frame_id": "lens"}
    with made.node, NodeProcess("capture_node", folder, camera, PICTURES):
        made.node.wait_for(made.snapshots, 2)
        yield made


# -- what comes out


def test_each_body_state_carries_the_stamp_of_a_picture_and_is_plausible(stage: Stage):
    """The person of the sample stands 2.9 to 3.1 m before the camera, upright, in its middle."""
    states = [m for m in stage.states.wait(12) if m.status == BodyState.TRACKING and m.confidence > 0.3]
    shown = {stamp_ns(m.header.stamp) for m in stage.pictures.messages}
    stamps = [stamp_ns(m.header.stamp) for m in states]
    assert len(states) >= 8 and set(stamps) <= shown and stamps == sorted(set(stamps))
    for state in states:
        assert (state.header.frame_id, state.body_id, state.body_model) == ("lens", "ann", "default")
        assert len(state.pose) == 3 * 55 and np.isfinite(state.pose).all()
        assert 2.0 < state.transl[2] < 4.5 and abs(state.transl[0]) < 0.7
        # Upright in an optical frame, whose y points down, is half a turn about x, and about the vertical however they face.
        up = _rotation(state.pose[:3])[:, 1]
        assert up[1] < -0.8


def test_the_frames_of_the_body_hang_on_the_camera(stage: Stage):
    message = stage.transforms.matching(lambda m: m.transforms[0].child_frame_id == "body_ann")
    parents = {t.child_frame_id: t.header.frame_id for t in message.transforms}
    root = message.transforms[0]
    assert (root.header.frame_id, parents["ann/pelvis"]) == ("lens", "body_ann")
    assert parents["ann/left_wrist"] == "ann/left_elbow" and len(parents) == 23
    assert 2.0 < root.transform.translation.z < 4.5
    assert stamp_ns(root.header.stamp) in {stamp_ns(m.header.stamp) for m in stage.states.messages}


def test_status_counts_and_says(stage: Stage):
    status = stage.status_where(lambda m: m.state == TrainingStatus.TRAINING and m.iterations > 3)
    assert status.gaussians > 20_000 and status.keyframes > 0 and status.frames > 0 and np.isfinite(status.loss)
    assert status.body_id == "ann" and status.snapshot_version > 0 and status.message == "person: tracking"


def test_a_snapshot_that_is_announced_can_be_fetched(stage: Stage):
    first, *_, last = stage.snapshots.wait(3)
    announced = [Announcement(**{name: getattr(m, name) for name in Announcement.__dataclass_fields__}) for m in (first, last)]
    assert announced[0].avatar_id == announced[1].avatar_id
    assert announced[1].version - announced[0].version == len(stage.snapshots.messages) - 1 or announced[1].version > 1
    snapshot = fetched(stage)
    assert snapshot.body_name == "default" and snapshot.iterations >= announced[0].iterations


def fetched(stage: Stage) -> AvatarSnapshot:
    """The newest that is announced."""
    message = stage.snapshots.next()
    client = SnapshotClient(20.0)
    try:
        return client.fetch(Announcement(**{name: getattr(message, name) for name in Announcement.__dataclass_fields__}))
    finally:
        client.close()


def test_who_comes_late_is_told_of_the_newest_snapshot_and_the_labels(stage: Stage):
    late = stage.graph.listen(SnapshotMessage, "/avatar_node/snapshot", latched=True).wait()[0]
    assert late.version >= 1
    labels = stage.graph.listen(LabelInfo, "/avatar_node/label_info", latched=True).wait()[0]
    assert {c.class_id: c.class_name for c in labels.class_map}[22] == "Upper_Clothing"
    info = stage.graph.listen(VisionInfo, "/avatar_node/vision_info", latched=True).wait()[0]
    assert info.database_version >= late.version and info.database_location == "/avatar_node/label_info"


def test_an_overlay_is_drawn_for_those_who_ask(stage: Stage):
    raw = stage.graph.listen(Image, "/avatar_node/overlay").wait()[0]
    small = stage.graph.listen(CompressedImage, "/avatar_node/overlay/compressed").wait()[0]
    assert (raw.encoding, raw.width, raw.height, raw.header.frame_id) == ("rgb8", 512, 512, "lens")
    assert rgb_of(small).shape == (512, 512, 3)
    assert stamp_ns(raw.header.stamp) in {stamp_ns(m.header.stamp) for m in stage.states.messages}


def test_diagnostics_say_that_all_is_well(stage: Stage):
    def trains(message: DiagnosticArray) -> bool:
        (status,) = message.status
        values = {v.key: v.value for v in status.values}
        return (status.name, values.get("state"), status.level) == ("avatar_node: state", "training", b"\x00")

    healthy = stage.diagnostics.matching(trains).status[0]
    assert healthy.hardware_id == "ann" and int({v.key: v.value for v in healthy.values}["Gaussians"]) > 20_000


@pytest.mark.skipif(not HAS_HRI, reason="needs hri_msgs")
def test_the_person_is_a_human_in_ros(stage: Stage):
    """REP-155: the id is listed, and what is said of it is inside the picture and carries the id."""
    from hri_msgs.msg import IdsList, NormalizedRegionOfInterest2D, Skeleton2D

    listen, base = stage.graph.listen, "/humans/bodies/ann"
    assert listen(IdsList, "/humans/bodies/tracked", latched=True).wait()[-1].ids == ["ann"]
    region = listen(NormalizedRegionOfInterest2D, f"{base}/roi").wait()[0]
    assert 0 <= region.xmin < region.xmax <= 1 and 0 <= region.ymin < region.ymax <= 1
    points = listen(Skeleton2D, f"{base}/skeleton2d").wait()[0].skeleton
    assert len(points) == 18 and all(0 <= p.x <= 1 and 0 <= p.y <= 1 for p in points)
    joints = listen(JointState, f"{base}/joint_states").wait()[0]
    assert len(joints.name) == 20 and all(name.endswith("_ann") for name in joints.name)
    assert "<robot" in listen(String, f"{base}/urdf", latched=True).wait()[0].data
    crop = listen(Image, f"{base}/cropped").wait()[0]
    assert crop.encoding == "rgb8" and 0 < crop.width <= 512


# -- services and parameters


def test_a_pause_stops_training_and_tracking_until_it_is_over(stage: Stage):
    assert "paused" in stage.remote.trigger("pause")
    paused = stage.status_where(lambda m: m.state == TrainingStatus.PAUSED)
    # The step and the picture under way are finished.
    settled = stage.status_where(lambda m: stamp_ns(m.header.stamp) >= stamp_ns(paused.header.stamp))
    later = [stage.status.next() for _ in range(3)][-1]
    assert (later.iterations, later.frames) == (settled.iterations, settled.frames)
    assert later.frames_dropped > settled.frames_dropped and later.iterations_per_s == 0
    stage.remote.trigger("resume")
    assert stage.status_where(lambda m: m.iterations > later.iterations).state == TrainingStatus.TRAINING


def test_an_avatar_is_saved_forgotten_and_loaded(stage: Stage, tmp_path: Path):
    path = tmp_path / "a.safetensors"
    assert str(path) in stage.remote.file("save", path)
    saved, before = load_avatar(path), stage.snapshots.messages[-1].avatar_id
    stage.remote.trigger("reset")
    anew = stage.snapshots.matching(lambda m: m.avatar_id != before)
    assert anew.iterations < saved.iterations and anew.version <= 2
    assert str(saved.iterations) in stage.remote.file("load", path)
    loaded = stage.snapshots.matching(lambda m: m.avatar_id not in (before, anew.avatar_id))
    assert loaded.iterations >= saved.iterations and loaded.version <= 2
    assert stage.status_where(lambda m: m.state == TrainingStatus.TRAINING).iterations >= saved.iterations


def test_files_for_other_programs_and_times(stage: Stage, tmp_path: Path):
    for name, magic in (("a.ply", b"ply\n"), ("a.glb", b"glTF")):
        stage.remote.file("export", tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] == magic
    stage.remote.file("save_timings", tmp_path / "t.json")
    times = json.loads((tmp_path / "t.json").read_text())
    assert {"prior", "tracker", "training step"} <= set(times["stages_ms"]) and times["latency_ms"]


def test_what_cannot_be_done_is_said(stage: Stage, tmp_path: Path):
    assert "expected a file name ending in .ply or .glb" in stage.remote.refused("export", tmp_path / "a.obj")
    assert "expected an existing file" in stage.remote.refused("load", tmp_path / "none.safetensors")
    assert "expected the name of a file" in stage.remote.refused("save", "")
    assert "/proc/" in stage.remote.refused("save", "/proc/a.safetensors")


def test_parameters_are_taken_or_refused_with_the_reason(stage: Stage):
    assert stage.remote.set("overlay.kind", "body") is None
    assert "overlay.max_side_px" in str(stage.remote.set("overlay.max_side_px", 3))
    assert stage.remote.set("overlay.kind", "ghost") == "overlay.kind: expected one of avatar, body, got 'ghost'"
    assert "read-only" in str(stage.remote.set("preset", "gpu"))
    assert stage.remote.set("publish_tf", False) is None
    until_quiet(stage.transforms)
    assert stage.remote.set("publish_tf", True) is None
    stage.transforms.next()


def until_quiet(inbox: Inbox, quiet_s: float = 2.0) -> None:
    def quiet() -> bool:
        count = len(inbox.messages)
        try:
            until(lambda: len(inbox.messages) > count, quiet_s, lambda: "")
        except AssertionError:
            return True
        return False

    until(quiet, WAIT_S, lambda: f"silence on {inbox.topic}")


@pytest.mark.skipif(which("ros2") is None, reason="needs ros2cli")
def test_outputs_are_recorded_and_read_from_the_bag(stage: Stage, tmp_path: Path):
    topics = ["/avatar_node/body_state", "/avatar_node/status", "/avatar_node/snapshot"]
    if subprocess.run(["ros2", "bag", "record", "--help"], capture_output=True).returncode:
        pytest.skip("needs ros2bag")
    bag = tmp_path / "bag"
    recorder = started(["ros2", "bag", "record", "-o", bag, *topics], tmp_path / "log")
    try:
        until(lambda: all(t in (tmp_path / "log").read_text() for t in topics), WAIT_S, lambda: (tmp_path / "log").read_text())
        for _ in range(5):
            stage.states.next(), stage.status.next()
    finally:
        recorder.send_signal(signal.SIGINT)
        recorder.wait(END_S)
    heard = {stamp_ns(m.header.stamp): m for m in stage.states.messages}
    read = recorded(bag)
    states = [m for m in read if m.__msgtype__ == "fmgs_ros/msg/BodyState"]
    assert len(states) >= 3 and {m.__msgtype__ for m in read} >= {"fmgs_ros/msg/TrainingStatus", "fmgs_ros/msg/AvatarSnapshot"}
    for state in states:
        np.testing.assert_array_equal(state.pose, np.float32(heard[stamp_ns(state.header.stamp)].pose))


def recorded(bag: Path) -> list:
    """All messages, by our own definitions of them."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for file in sorted((REPOSITORY / "msg").glob("*.msg")):
        store.register(get_types_from_msg(file.read_text(), f"fmgs_ros/msg/{file.stem}"))
    with AnyReader([bag], default_typestore=store) as reader:
        return [store.deserialize_cdr(raw, connection.msgtype) for connection, _, raw in reader.messages()]


# -- the lifecycle


def test_the_avatar_outlives_a_pause_of_the_node_and_is_learned_on_twice(stage: Stage, tmp_path: Path):
    iterations = stage.status_where(lambda m: m.state == TrainingStatus.TRAINING).iterations
    for k in range(2):
        assert stage.remote.change("deactivate") and stage.remote.state == "inactive"
        stage.remote.file("save", tmp_path / f"{k}.safetensors")
        assert load_avatar(tmp_path / f"{k}.safetensors").iterations >= iterations
        assert stage.remote.change("activate")
        iterations = learned_beyond(stage, iterations)
    assert len({m.avatar_id for m in stage.snapshots.messages[-2:]}) == 1


def learned_beyond(stage: Stage, iterations: int) -> int:
    return stage.status_where(lambda m: m.iterations > iterations and m.state == TrainingStatus.TRAINING).iterations


def test_after_a_cleanup_it_starts_from_nothing_and_two_signals_end_it(stage: Stage):
    before = stage.snapshots.messages[-1]
    assert stage.remote.change("deactivate", "cleanup") and stage.remote.state == "unconfigured"
    assert stage.remote.change("configure", "activate")
    anew = stage.snapshots.matching(lambda m: m.avatar_id != before.avatar_id and m.endpoint != before.endpoint, START_S)
    assert anew.iterations < before.iterations
    assert stage.node.end(signal.SIGINT, signal.SIGINT) == 0, stage.node.said
    assert "Traceback" not in stage.node.said


# -- what goes wrong


def test_an_uncalibrated_camera_is_refused_by_name(graph: Participant, tmp_path: Path):
    """Pictures come on another topic than those of the stage, and nobody says their camera_info."""
    said = graph.listen(DiagnosticArray, "/diagnostics")
    options = SMALL | {"autostart": True, "transport": "compressed"}
    remaps = {"__node": "blind", "image_raw/compressed": "/bare", "camera_info": "/nobody"}
    camera = {"source": str(SAMPLE), "loop": True, "autostart": True}
    with (
        NodeProcess("avatar_node", tmp_path, options, remaps) as node,
        NodeProcess("capture_node", tmp_path, camera, {"__node": "bare", "~/image_raw/compressed": "/bare"}),
    ):
        fault = said.matching(lambda m: m.status[0].name == "blind: state" and m.status[0].level == b"\x02", START_S).status[0]
        assert "expected a calibrated camera" in fault.message and "no CameraInfo" in fault.message
        assert node.end(signal.SIGTERM) == 0, node.said
        assert "Traceback" not in node.said


def test_a_prior_that_breaks_is_said_and_tried_again_until_it_works(graph: Participant, tmp_path: Path):
    """Recorded maps that are none, beside compressed pictures; then they are mended. Nobody asks for a reset."""
    maps = tmp_path / "maps"
    (maps / "mask").mkdir(parents=True)
    said = graph.listen(DiagnosticArray, "/diagnostics")
    status = graph.listen(TrainingStatus, "/broken/status")
    stamps = graph.listen(CameraInfo, "/damaged/camera_info")
    camera = {"source": str(SAMPLE), "loop": True, "autostart": True, "stamps": "source", "speed": 0.2}
    with NodeProcess("capture_node", tmp_path, camera, {"__node": "damaged"}):
        first = stamp_ns(stamps.wait()[0].header.stamp)
        (maps / "stamps_ns.txt").write_text("".join(f"{first + k * 66_666_667}\n" for k in range(2000)))
        for k in range(2000):
            (maps / "mask" / f"{k:06d}.png").write_bytes(b"not a picture")
        options = SMALL | {"autostart": True, "prior": str(maps), "transport": "compressed"}
        topics = {"image_raw/compressed": "/damaged/image_raw/compressed", "camera_info": "/damaged/camera_info"}
        remaps = {"__node": "broken", **topics}
        with NodeProcess("avatar_node", tmp_path, options, remaps) as node:
            failed = status.matching(lambda m: m.state == TrainingStatus.FAILED, START_S)
            assert "mask" in failed.message
            fault = said.matching(lambda m: m.status[0].name == "broken: state" and m.status[0].level == b"\x02").status[0]
            assert "the training broke" in fault.message
            white = cv2.imencode(".png", np.full((512, 512), 255, np.uint8))[1].tobytes()
            for k in range(2000):
                (maps / "mask" / f"{k:06d}.png").write_bytes(white)
            node.wait_said("going on after a failure")
            seen = len(said.messages)
            until(lambda: any(is_well(m, "broken") for m in said.messages[seen:]), WAIT_S, lambda: str(said.messages[-1]))
            assert status.next().state != TrainingStatus.FAILED
            assert node.end() == 0, node.said
            assert "Traceback" not in node.said


def is_well(message: DiagnosticArray, node: str) -> bool:
    return message.status[0].name == f"{node}: state" and message.status[0].level == b"\x00"


def _rotation(axis_angle: list[float]) -> np.ndarray:
    return Rotation.from_rotvec(axis_angle).as_matrix()
