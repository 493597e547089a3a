"""render_node on a real graph, watched by a participant of its own. Kinds: parity with drawing directly, behaviour."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import LabelInfo, VisionInfo

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, save_avatar
from fmgs_core.body.default import default_body
from fmgs_core.geometry import look_at, rigid_inverse
from fmgs_core.rendering.outputs import Output, draw_outputs
from fmgs_core.rendering.view_sources import AroundConfig, AroundView, Lens
from fmgs_core.tracking.tracker import TrackingStatus
from fmgs_core.transport import ServerKeys, SnapshotServer
from fmgs_core.transport.keys import write_keys
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState, Camera
from fmgs_ros.bodies import fill_body_state, state_in_optical
from fmgs_ros.msg import AvatarSnapshot as SnapshotMessage
from fmgs_ros.msg import BodyState as BodyMessage
from fmgs_ros.srv import FilePath, RenderView

from .harness import START_S, WAIT_S, Inbox, NodeProcess, Participant, participant, until

BODY = default_body()
LENS = Lens(320, 240)
BACKGROUND = (10, 200, 30)
_NUMBERS = count()
FRAME = "robot_camera_optical_frame"
OPTIONS = {
    "view.lens.width": 320,
    "view.lens.height": 240,
    "background": list(BACKGROUND),
    "fill_unseen": False,
    "autostart": True,
}
STAMP_NS = 1_700_000_000_123_456_789


@cache
def avatar(red: float = 4.0) -> Avatar:
    """Of one colour in front, blue behind; seen from the front only; the left half of the classes is one, the right another."""
    made = Avatar(BODY)
    centers = BODY.v_template[made.faces.numpy()].mean(1)
    front, left = torch.from_numpy(centers[:, 2] > 0), torch.from_numpy(centers[:, 0] > 0)
    with torch.no_grad():
        made.field.color_logit.copy_(
            torch.where(front[:, None], torch.tensor([red, -4.0, -4.0]), torch.tensor([-4.0, -4.0, 4.0]))
        )
        made.field.opacity_logit.fill_(6.0)
        made.field.logits[left, 10] = 4.0
        made.field.logits[~left, 20] = 4.0
        made.observed.copy_(500.0 * front)
    return made


def state(yaw: float = 0.3, x: float = 0.2) -> BodyState:
    """Three metres before the camera, arms lowered, in the core's world."""
    neutral = BODY.neutral_state()
    pose = neutral.pose.copy()
    pose[0], pose[16], pose[17] = (0, yaw, 0), (0, 0, -1.1), (0, 0, 1.1)
    return replace(neutral, pose=pose, transl=np.array([x, 0.25, -3.0]))


def body_message(of: BodyState, stamp_ns: int = STAMP_NS, model: str = "default") -> BodyMessage:
    message = BodyMessage(body_id="a", body_model=model)
    message.header.frame_id = FRAME
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    fill_body_state(message, state_in_optical(BODY, of), TrackingStatus.TRACKING, 1.0)
    return message


def pixels(message: Image) -> np.ndarray:
    """As an independent reader of the standard would see them."""
    kind, channels = {"rgb8": (np.uint8, 3), "mono8": (np.uint8, 1), "32FC1": (np.float32, 1)}[message.encoding]
    assert message.step == message.width * channels * np.dtype(kind).itemsize and not message.is_bigendian
    return np.frombuffer(message.data, kind).reshape((message.height, message.width, channels)).squeeze()


def directly(of: BodyState, camera: Camera, red: float = 4.0) -> dict[Output, np.ndarray]:
    return draw_outputs(avatar(red), of, camera, frozenset(Output), BACKGROUND)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    error = np.square(a.astype(float) - b.astype(float)).mean()
    return 10 * math.log10(255**2 / max(error, 1e-10))


class Trainer:
    """A server and its announcements, as avatar_node has them."""

    def __init__(self, graph: Participant):
        self._graph, self.server = graph, SnapshotServer()
        self._topic = graph.talk(SnapshotMessage, "snapshot", latched=True)

    def publish(self, red: float) -> SnapshotMessage:
        announcement = self.server.publish(AvatarSnapshot.of(avatar(red), 1, 1))
        message = SnapshotMessage(**vars(announcement))
        self._topic.publish(message)
        return message

    def die(self) -> None:
        self.server.close()
        self._graph.node.destroy_publisher(self._topic)


@dataclass
class Stage:
    """One renderer for many tests, which draws the trainer's avatar as body_state says."""

    graph: Participant
    node: NodeProcess
    trainer: Trainer
    bodies: Any
    image: Inbox
    diagnostics: Inbox

    def draw(self, of: BodyState | None = None, stamp_ns: int | None = None, inbox: Inbox | None = None) -> Any:
        """The picture of a body, which is sent again every other second: best effort may lose it, and it is not drawn before
        the renderer knows who listens and where it looks from."""
        stamp_ns = stamp_ns or time.time_ns()
        message, inbox = body_message(of or state(), stamp_ns), inbox or self.image
        for _ in range(int(WAIT_S / 2)):
            self.bodies.publish(message)
            with suppress(AssertionError):
                return inbox.matching(lambda m: m.header.stamp == message.header.stamp, 2.0)
        raise AssertionError(f"not drawn within {WAIT_S:g} s: {self.node.said}")

    def set(self, **parameters: Any) -> list[Any]:
        return set_parameters(self.graph, "render_node", **parameters)

    def status(self) -> Any:
        return self.diagnostics.next().status[0]

    def wait_message(self, wanted: str) -> None:
        """Of the diagnostics."""
        until(lambda: wanted in self.status().message, WAIT_S, lambda: f"{wanted!r}, got {self.status().message!r}")


def set_parameters(graph: Participant, node: str, **parameters: Any) -> list[Any]:
    """Of names with __ for dots; the results."""
    request = SetParameters.Request(parameters=[_parameter(k.replace("__", "."), v) for k, v in parameters.items()])
    return graph.call(SetParameters, f"/{node}/set_parameters", request).results


def _parameter(name: str, value: Any) -> Parameter:
    kinds = {bool: "bool", int: "integer", float: "double", str: "string"}
    kind = kinds[type(value)]
    typed = ParameterValue(type=getattr(ParameterType, f"PARAMETER_{kind.upper()}"), **{f"{kind}_value": value})
    return Parameter(name=name, value=typed)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The trainer announces once, before the renderer is there: a late joiner must get it."""
    with participant() as graph:
        trainer = Trainer(graph)
        trainer.publish(4.0)
        options = OPTIONS | {"view.mode": "camera", "fetch.timeout_s": 0.5, "fetch.retry_s": 0.2}
        with NodeProcess("render_node", tmp_path_factory.mktemp("stage"), options) as node:
            bodies = graph.talk(BodyMessage, "body_state")
            image, diagnostics = graph.listen(Image, "/render_node/image_raw"), graph.listen(DiagnosticArray, "/diagnostics")
            node.wait_said("drawing version 1")
            until(lambda: bodies.get_subscription_count() > 0, WAIT_S, lambda: "the renderer on body_state")
            until(lambda: graph.node.count_publishers("/render_node/image_raw") > 0, WAIT_S, lambda: "its pictures")
            time.sleep(0.5)  # discovery of our subscription by the renderer has no sign on our side
            yield Stage(graph, node, trainer, bodies, image, diagnostics)


def test_a_picture_is_what_is_drawn_directly(stage: Stage):
    """Received by a subscriber of its own. The pose went through the optical frame and float32, nothing else."""
    message = stage.draw(stamp_ns=STAMP_NS)
    got, expected = pixels(message), directly(state(), LENS.camera())[Output.IMAGE]
    assert (message.encoding, message.header.frame_id) == ("rgb8", "render_node_view_optical")
    assert psnr_db(got, expected) > 50  # measured: 60 to identical
    assert (got[0, 0] == BACKGROUND).all() and got[120, 176, 0] > 200  # the person is there, and is red


def test_every_picture_of_a_drawing_carries_its_stamp_and_fits_the_direct_ones(stage: Stage):
    graph, stamp_ns = stage.graph, time.time_ns()
    topics = {Output.DEPTH: "depth", Output.NORMALS: "normals", Output.MASK: "mask", Output.CONFIDENCE: "confidence"}
    inboxes = {output: graph.listen(Image, f"/render_node/{topic}") for output, topic in topics.items()}
    extra = graph.listen(Image, "/render_node/mask_color")
    jpeg = graph.listen(CompressedImage, "/render_node/image_raw/compressed")
    infos = graph.listen(CameraInfo, "/render_node/camera_info")
    until(lambda: stage.draw() is not None and all(i.messages for i in [*inboxes.values(), extra, jpeg]), WAIT_S, lambda: "all")
    expected = directly(state(), LENS.camera())
    image = stage.draw(stamp_ns=stamp_ns)
    header = image.header
    for output, inbox in inboxes.items():
        message = inbox.matching(lambda m: m.header == header)
        got, wanted = pixels(message), expected[output]
        if output is Output.MASK:
            assert set(np.unique(got)) == {0, 10, 20} and (got == wanted).mean() > 0.999
        elif output is Output.DEPTH:
            assert (np.isnan(got) == np.isnan(wanted)).mean() > 0.999 and np.nanmax(np.abs(got - wanted)) < 0.02
            assert 2.5 < np.nanmedian(got) < 3.5
        else:
            np.testing.assert_allclose(got.astype(float).mean(), wanted.astype(float).mean(), rtol=1e-3)
    colored, compressed = extra.matching(lambda m: m.header == header), jpeg.matching(lambda m: m.header == header)
    assert pixels(colored).shape == (240, 320, 3)
    assert compressed.format == "rgb8; jpeg compressed bgr8"
    decoded = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert psnr_db(decoded, expected[Output.IMAGE]) > 25
    info = infos.matching(lambda m: m.header == header)
    K = LENS.K
    assert (info.width, info.height) == (320, 240)
    np.testing.assert_allclose(info.k, [K[0, 0], 0, K[0, 2] - 0.5, 0, K[1, 1], K[1, 2] - 0.5, 0, 0, 1])
    for inbox in [*inboxes.values(), extra, jpeg, infos]:
        stage.graph.node.destroy_subscription(next(s for s in graph.node.subscriptions if s.topic_name == inbox.topic))


def test_the_classes_are_named_for_who_comes_late(stage: Stage):
    info = stage.graph.listen(LabelInfo, "/render_node/label_info", latched=True).wait()[0]
    names = {c.class_id: c.class_name for c in info.class_map}
    assert (names[0], names[10], names[20], names[255]) == ("Background", "Left_Upper_Arm", "Right_Upper_Leg", "Unlabelled")
    stage.draw()
    info = stage.graph.listen(VisionInfo, "/render_node/vision_info", latched=True).wait()[0]
    assert info.database_version >= 1 and info.database_location == "/render_node/label_info"


def test_the_view_is_where_its_frame_is(stage: Stage):
    frames = stage.graph.listen(TFMessage, "/tf")
    assert stage.set(view__mode="follow")[0].successful
    try:
        until(lambda: stage.draw() is not None and bool(frames.messages), WAIT_S, lambda: "a transform")
        stage.draw()
        transform = frames.messages[-1].transforms[0]
    finally:
        stage.set(view__mode="camera")
    assert (transform.header.frame_id, transform.child_frame_id) == (FRAME, "render_node_view_optical")
    expected = AroundView(BODY, AroundConfig(), LENS, turns_with_body=True).camera(state(), 0.0)
    # T_optical_view = T_optical_world T_world_view
    T = T_CAMERA_WORLD_UNPOSED @ rigid_inverse(expected.T_camera_world)
    t, q = transform.transform.translation, transform.transform.rotation
    np.testing.assert_allclose([t.x, t.y, t.z], T[:3, 3], atol=1e-3)
    np.testing.assert_allclose(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), T[:3, :3], atol=1e-3)


def behind() -> np.ndarray:
    """T_view_world of a camera two metres behind the person."""
    return look_at(np.array([0.2, 0.3, -5.5]), np.array([0.2, 0.3, -3.0]))


def pose_message(T_view_world: np.ndarray, frame_id: str = FRAME) -> PoseStamped:
    T = T_CAMERA_WORLD_UNPOSED @ rigid_inverse(T_view_world)
    message = PoseStamped()
    message.header.frame_id = frame_id
    p, q = message.pose.position, message.pose.orientation
    p.x, p.y, p.z = map(float, T[:3, 3])
    q.x, q.y, q.z, q.w = map(float, Rotation.from_matrix(T[:3, :3]).as_quat())
    return message


def test_a_pose_on_the_topic_view_is_looked_from(stage: Stage):
    views = stage.graph.talk(PoseStamped, "view")
    assert stage.set(view__mode="pose")[0].successful
    try:
        until(lambda: views.get_subscription_count() > 0, WAIT_S, lambda: "the renderer on view")
        for _ in range(3):
            views.publish(pose_message(behind()))
            time.sleep(0.1)
        got = pixels(stage.draw())
    finally:
        stage.set(view__mode="camera")
    assert psnr_db(got, directly(state(), LENS.camera(behind()))[Output.IMAGE]) > 40
    assert got[120, 160, 2] > 200  # the blue side


def test_a_tf_frame_is_looked_from(stage: Stage):
    T = T_CAMERA_WORLD_UNPOSED @ rigid_inverse(behind())
    transform = TransformStamped(child_frame_id="drone")
    transform.header.frame_id = FRAME
    t, q = transform.transform.translation, transform.transform.rotation
    t.x, t.y, t.z = map(float, T[:3, 3])
    q.x, q.y, q.z, q.w = map(float, Rotation.from_matrix(T[:3, :3]).as_quat())
    static = stage.graph.talk(TFMessage, "/tf_static", latched=True)
    assert not stage.set(view__mode="frame")[0].successful  # a frame first
    assert stage.set(view__frame="drone")[0].successful and stage.set(view__mode="frame")[0].successful
    try:
        stage.bodies.publish(body_message(state(), time.time_ns()))
        stage.wait_message("drone")
        static.publish(TFMessage(transforms=[transform]))
        time.sleep(0.5)
        got = pixels(stage.draw())
    finally:
        stage.set(view__mode="camera")
    assert psnr_db(got, directly(state(), LENS.camera(behind()))[Output.IMAGE]) > 40


def test_render_view_draws_once_from_anywhere(stage: Stage):
    stage.draw()
    request = RenderView.Request(view=pose_message(behind()), body=body_message(state(yaw=2.0)))
    request.channels = ["image", "mask", "depth"]
    request.camera_info.width, request.camera_info.height = 100, 80
    request.camera_info.k = [120.0, 0, 49.5, 0, 120, 39.5, 0, 0, 1]
    answer = stage.graph.call(RenderView, "/render_node/render_view", request)
    assert answer.success, answer.message
    camera = Camera(np.array([[120.0, 0, 50], [0, 120, 40], [0, 0, 1]]), 100, 80, behind())
    expected = directly(state(yaw=2.0), camera)
    assert psnr_db(pixels(answer.image), expected[Output.IMAGE]) > 40
    assert (pixels(answer.mask) == expected[Output.MASK]).mean() > 0.99 and pixels(answer.depth).shape == (80, 100)
    assert answer.confidence.width == 0 and answer.camera_info.width == 100 and answer.snapshot_version >= 1
    assert answer.image.header == answer.camera_info.header
    own = stage.graph.call(RenderView, "/render_node/render_view", RenderView.Request())
    assert own.success and psnr_db(pixels(own.image), directly(state(), LENS.camera())[Output.IMAGE]) > 50


@pytest.mark.parametrize(
    ("channels", "model", "frame", "said"),
    [
        (["colour"], "default", FRAME, "channels: expected some of image, depth"),
        (["image"], "smplx", FRAME, "body_state: expected body model 'default', got 'smplx'"),
        (["image"], "default", "no_such_frame", "view: expected a transform from no_such_frame to robot_camera_optical_frame"),
    ],
)
def test_render_view_says_what_is_wrong(stage: Stage, channels: list[str], model: str, frame: str, said: str):
    body = body_message(state(), model=model)
    request = RenderView.Request(view=pose_message(behind(), frame), body=body, channels=channels)
    answer = stage.graph.call(RenderView, "/render_node/render_view", request)
    assert not answer.success and said in answer.message


def test_nothing_is_drawn_for_nobody(stage: Stage):
    stage.draw()
    node = stage.graph.node
    node.destroy_subscription(next(s for s in node.subscriptions if s.topic_name == "/render_node/image_raw"))
    try:
        stage.wait_message("nobody subscribes to a picture")
        before = _value(stage.status(), "pictures")
        for _ in range(20):
            stage.bodies.publish(body_message(state(), time.time_ns()))
            time.sleep(0.03)
        stage.diagnostics.next()
        assert _value(stage.status(), "pictures") == before
    finally:
        node.create_subscription(Image, "/render_node/image_raw", stage.image.messages.append, 10)
    until(lambda: "nobody" not in stage.status().message, WAIT_S, lambda: "work again")
    stage.draw()


def _value(status: Any, key: str) -> str:
    return next(v.value for v in status.values if v.key == key)


def test_what_others_send_wrong_is_said_and_harms_nothing(stage: Stage):
    stage.draw()
    broken = body_message(state(), time.time_ns())
    broken.pose = broken.pose[:7]
    for message in (broken, body_message(state(), time.time_ns(), "smplx")):
        stage.bodies.publish(message)
        stage.wait_message("expected body model" if message.body_model == "smplx" else "BodyState.pose: expected")
    announcement = stage.trainer.publish(4.0)
    for field, value in (("sha256", "nonsense"), ("endpoint", "ipc:///tmp/x"), ("version", 0)):
        wrong = SnapshotMessage(**{k: getattr(announcement, k) for k in announcement.get_fields_and_field_types()})
        setattr(wrong, field, value)
        stage.trainer._topic.publish(wrong)
        until(lambda field=field: f"announcement refused: Announcement.{field}" in stage.node.said, WAIT_S, lambda: "a refusal")
    lying = SnapshotMessage(**{k: getattr(announcement, k) for k in announcement.get_fields_and_field_types()})
    lying.version, lying.sha256 = announcement.version + 1, "0" * 64
    stage.trainer._topic.publish(lying)
    until(lambda: "gone" in stage.node.said, WAIT_S, lambda: "a refusal")
    assert psnr_db(pixels(stage.draw()), directly(state(), LENS.camera())[Output.IMAGE]) > 50


def test_parameters_that_make_no_sense_are_refused_with_the_reason(stage: Stage):
    results = stage.set(view__lens__width=3, view__mode="sideways", jpeg_quality=0, drive__rate_hz=0.0)
    assert [r.successful for r in results] == [False] * 4
    assert "expected one of follow, orbit, camera, pose, frame, got 'sideways'" in results[1].reason


def test_the_trainer_dies_and_comes_back(stage: Stage):
    """Meanwhile the last good avatar is drawn on; afterwards the new one."""
    stage.trainer.publish(4.0)
    stage.draw()
    stage.trainer.die()
    stage.wait_message("the trainer is away")
    assert psnr_db(pixels(stage.draw()), directly(state(), LENS.camera())[Output.IMAGE]) > 50
    stage.trainer = Trainer(stage.graph)
    said = stage.node.said.count("drawing version")
    stage.trainer.publish(-4.0)
    until(lambda: stage.node.said.count("drawing version") > said, WAIT_S, lambda: "the new avatar")
    assert psnr_db(pixels(stage.draw()), directly(state(), LENS.camera(), -4.0)[Output.IMAGE]) > 50
    until(lambda: stage.status().level == b"\x00", WAIT_S, lambda: "all well")


def test_a_file_is_drawn_in_place_of_snapshots_and_given_up_again(stage: Stage, tmp_path: Path):
    versions = stage.graph.listen(VisionInfo, "/render_node/vision_info", latched=True)
    save_avatar(tmp_path / "avatar.safetensors", AvatarSnapshot.of(avatar(0.0), 1, 1))
    load = stage.graph.call(FilePath, "/render_node/load", FilePath.Request(file_path=str(tmp_path / "avatar.safetensors")))
    assert load.success, load.message
    assert psnr_db(pixels(stage.draw()), directly(state(), LENS.camera(), 0.0)[Output.IMAGE]) > 50
    assert versions.matching(lambda m: m.database_version == 0)
    gone = stage.graph.call(FilePath, "/render_node/load", FilePath.Request(file_path="/gone.safetensors"))
    assert not gone.success and "expected an existing file" in gone.message
    announced = stage.trainer.publish(4.0)
    assert stage.graph.call(FilePath, "/render_node/load", FilePath.Request()).success
    until(
        lambda: psnr_db(pixels(stage.draw()), directly(state(), LENS.camera())[Output.IMAGE]) > 50, WAIT_S, lambda: "snapshots"
    )
    assert versions.matching(lambda m: m.database_version == announced.version)


# -- without a trainer


@pytest.fixture(scope="module")
def avatar_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "avatar.safetensors"
    save_avatar(path, AvatarSnapshot.of(avatar(), 1, 1))
    return path


@dataclass
class Solo:
    """A renderer that needs no trainer."""

    node: NodeProcess
    name: str
    image: Inbox


@contextmanager
def renderer(graph: Participant, folder: Path, snapshots: str = "snapshot", **options: Any) -> Iterator[Solo]:
    """Each under a name of its own: the services of one that has just ended are believed to be there for a moment."""
    name = f"solo{next(_NUMBERS)}"
    image = graph.listen(Image, f"/{name}/image_raw")
    parameters = OPTIONS | {k.replace("__", "."): v for k, v in options.items()}
    with NodeProcess("render_node", folder, parameters, {"__node": name, "snapshot": snapshots}) as node:
        yield Solo(node, name, image)


def stamps_ns(inbox: Inbox) -> list[int]:
    return [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for m in inbox.messages]


def test_a_file_stands_in_an_orbit_and_then_moves(tmp_path: Path, avatar_file: Path):
    states = [state(yaw=y) for y in np.linspace(0, 6, 40)]
    np.savez(tmp_path / "motion.npz", pose=[s.pose for s in states], transl=[s.transl for s in states])
    options = {"drive__mode": "rest", "view__mode": "orbit", "view__around__period_s": 2.0, "drive__rate_hz": 10.0}
    with participant() as graph, renderer(graph, tmp_path, avatar_file=str(avatar_file), **options) as solo:
        pictures = solo.image.wait(25, START_S)
        assert (np.diff(stamps_ns(solo.image)) > 0).all()
        red = [pixels(p)[..., 0].astype(float).mean() for p in pictures]
        assert max(red) > 1.3 * min(red)  # front and back pass by
        rate_hz = 1e9 * 20 / (stamps_ns(solo.image)[-1] - stamps_ns(solo.image)[-21])
        assert rate_hz < 10.5
        for change in ({"drive__file": str(tmp_path / "motion.npz")}, {"drive__mode": "file"}, {"view__mode": "camera"}):
            assert set_parameters(graph, solo.name, **change)[0].successful
        time.sleep(0.5)
        before = len(solo.image.messages)
        moving = solo.image.wait(before + 12)[-10:]
        assert len({m.data.tobytes() for m in moving}) > 5
        directs = [directly(s, LENS.camera())[Output.IMAGE] for s in states]
        assert all(max(psnr_db(pixels(m), d) for d in directs) > 50 for m in moving[::3])
        assert solo.node.end(signal.SIGINT) == 0, solo.node.said
        assert "Traceback" not in solo.node.said


def test_simulated_time_is_the_time_of_stamps(tmp_path: Path, avatar_file: Path):
    options = {"drive__mode": "rest", "use_sim_time": True, "avatar_file": str(avatar_file)}
    with participant() as graph, renderer(graph, tmp_path, **options) as solo:
        clock = graph.talk(Clock, "/clock")
        until(lambda: clock.get_subscription_count() > 0, START_S, lambda: "the renderer on /clock")
        for k in range(int(START_S / 0.05)):
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(1_000_000_000 + 50_000_000 * k, 10**9)
            clock.publish(message)
            time.sleep(0.05)
            if len(solo.image.messages) > 10:
                break
        times = stamps_ns(solo.image)
        assert len(times) > 10 and max(times) < START_S * 1e9
        assert all(t % 50_000_000 == 0 for t in times)
        time.sleep(1.0)
        before = len(solo.image.messages)
        time.sleep(1.0)
        assert len(solo.image.messages) == before  # time stands still, and so does the picture
        assert solo.node.end(signal.SIGTERM) == 0, solo.node.said


def test_the_lifecycle_goes_round_twice(tmp_path: Path, avatar_file: Path):
    options = {"drive__mode": "rest", "autostart": False, "avatar_file": str(avatar_file)}
    with participant() as graph, renderer(graph, tmp_path, **options) as solo:

        def change(transition: int) -> bool:
            request = ChangeState.Request(transition=Transition(id=transition))
            return graph.call(ChangeState, f"/{solo.name}/change_state", request, START_S).success

        for _ in range(2):
            assert change(Transition.TRANSITION_CONFIGURE)
            assert change(Transition.TRANSITION_ACTIVATE)
            solo.image.next()
            assert change(Transition.TRANSITION_DEACTIVATE)
            time.sleep(1.0)
            before = len(solo.image.messages)
            time.sleep(0.5)
            assert len(solo.image.messages) == before
            assert change(Transition.TRANSITION_CLEANUP)
        assert solo.node.end(signal.SIGINT, signal.SIGINT) == 0, solo.node.said
        assert "Traceback" not in solo.node.said


def test_a_file_that_is_not_there_leaves_it_unconfigured_and_alive(tmp_path: Path):
    with participant() as graph, renderer(graph, tmp_path, avatar_file="/gone.safetensors") as solo:
        solo.node.wait_said(f"{solo.name} cannot be configured: avatar file: expected an existing file, got /gone.safetensors")
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        assert not graph.call(ChangeState, f"/{solo.name}/change_state", request, START_S).success
        assert solo.node.end(signal.SIGTERM, signal.SIGTERM) == 0, solo.node.said
        assert "Traceback" not in solo.node.said


def test_a_trainer_beyond_loopback_is_fetched_from_with_keys_only(tmp_path: Path):
    """A renderer without keys says what it lacks; one with them draws."""
    write_keys(tmp_path / "keys")
    server = SnapshotServer("tcp://0.0.0.0:*", ServerKeys.read(tmp_path / "keys"), advertise="127.0.0.1")
    with participant() as graph, server:
        graph.talk(SnapshotMessage, "/guarded", latched=True).publish(
            SnapshotMessage(**vars(server.publish(AvatarSnapshot.of(avatar(), 1, 1))))
        )
        with renderer(graph, tmp_path, "/guarded", drive__mode="rest", fetch__keys=str(tmp_path / "keys")) as solo:
            assert pixels(solo.image.wait(1, START_S)[0])[..., 0].max() > 200
        with renderer(graph, tmp_path, "/guarded", drive__mode="rest") as solo:
            solo.node.wait_said("needs keys: copy client.key_secret and server.key")
            assert not solo.image.messages
