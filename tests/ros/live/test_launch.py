"""avatar.launch.py on the sample bag, watched from outside, and the bag that it records. Kind: behaviour in numbers."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from fmgs_core.evaluation.metrics import psnr
from fmgs_core.geometry import rigid_inverse
from fmgs_core.stream.sequence import Sequence
from fmgs_ros.convert import rgb_of, stamp_ns, values_of
from fmgs_ros.msg import AvatarSnapshot, BodyState
from fmgs_ros.render_scene import fill_rigid

from .harness import END_S, REPOSITORY, START_S, Inbox, NodeProcess, Participant, participant, started, until
from .launched import Launched, launched
from .remote import Remote

TRUTH = REPOSITORY.parent / "shared" / "gt" / "dressed_a"
FPS, LENGTH, SIZE_PX = 15.0, 100, 512
FOCAL_PX, CENTER_PX = 691.0, (259.3, 253.6)
"""Of the sample, as FPS, LENGTH and SIZE_PX."""
LEARNED = 100
"""Training steps before pictures are compared."""
# One Gaussian per face. The person's height [m] is known, as that of a camera of unknown pose cannot be found out.
PARAMETERS = {
    "/**/avatar_node": {"ros__parameters": {"session": {"gaussians": 0, "tracker": {"subject_height_m": 1.85}}}},
    "/**/render_node": {
        "ros__parameters": {
            "background": [0, 0, 0],
            "view": {
                "mode": "camera",
                "lens": {
                    "width": SIZE_PX,
                    "height": SIZE_PX,
                    "fov_deg": float(np.degrees(2 * np.arctan(SIZE_PX / 2 / FOCAL_PX))),
                },
            },
        }
    },
}


@dataclass(frozen=True, eq=False)
class Show:
    """All three nodes, and what they say from their first message on."""

    graph: Participant
    launch: Launched
    bag: Path
    avatar: Path
    infos: Inbox
    states: Inbox
    snapshots: Inbox

    def together(self, count: int, *topics: str, wanted: Callable[[Any], bool] = lambda message: True) -> list[list[Any]]:
        """Pictures of one stamp on all topics, from now on."""
        inboxes = [self.graph.listen(Image, topic) for topic in topics]

        def found() -> list[list[Any]]:
            of = [{stamp_ns(m.header.stamp): m for m in list(inbox.messages)} for inbox in inboxes]
            common = sorted(ns for ns in of[0] if all(ns in other for other in of[1:]))
            return [[other[ns] for other in of] for ns in common if wanted(of[0][ns])]

        try:
            until(lambda: len(found()) >= count, START_S, lambda: f"{count} pictures of one stamp on {topics}")
        finally:
            for inbox in inboxes:
                self.graph.forget(inbox)
        return found()

    def frame(self, message: Any) -> int:
        """Which of the sample's frames it belongs to."""
        first_ns = stamp_ns(self.infos.messages[0].header.stamp)
        return round((stamp_ns(message.header.stamp) - first_ns) * 1e-9 * FPS) % LENGTH


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    folder = tmp_path_factory.mktemp("show")
    (params := folder / "params.yaml").write_text(yaml.safe_dump(PARAMETERS))
    words = (f"params_file:={params}", "source:=sample", "loop:=true", "namespace:=robot", "body_id:=ada", "view:=camera",
             f"record:={folder / 'bag'}", f"autosave:={folder / 'avatar.safetensors'}")  # fmt: skip
    with participant("launch_test") as graph:
        inboxes = (
            graph.listen(CameraInfo, "/robot/camera_info"),
            graph.listen(BodyState, "/robot/avatar_node/body_state"),
            graph.listen(AvatarSnapshot, "/robot/avatar_node/snapshot", latched=True),
        )
        with launched(folder, "avatar.launch.py", *words) as launch:
            yield Show(graph, launch, folder / "bag", folder / "avatar.safetensors", *inboxes)
    shutil.rmtree(folder / "bag", ignore_errors=True)  # hundreds of megabytes


def test_it_tracks_learns_and_draws(show: Show):
    """The person of the sample stands 2.9 to 3.1 m away."""
    frames = show.graph.listen(TFMessage, "/tf")
    until(lambda: bool(show.states.messages) or show.launch.process.poll() is not None, START_S, lambda: show.launch.said)
    state = show.states.matching(lambda m: m.status == BodyState.TRACKING and m.confidence > 0.3)
    assert state.header.frame_id == "camera_optical_frame" and state.body_id == "ada" and len(state.pose) == 165
    assert 2.5 < state.transl[2] < 3.5
    assert show.snapshots.wait(1, START_S)[0].gaussians > 20_000
    show.graph.listen(Image, "/robot/render_node/image_raw").wait(1, START_S)
    told = {transform.child_frame_id for message in frames.messages for transform in message.transforms}
    assert {"body_ada", "ada/pelvis", "ada/head", "render_node_view_optical"} <= told


def test_frames_in_and_out(show: Show):
    """Outputs are of pictures that came in, each once, in order, and soon. Two cores draw 86 of 120 pictures, 130 ms after
    they were taken; the bounds are for a machine with no core to spare."""
    first, seconds = len(show.infos.messages), 8.0
    arrived: list[tuple[float, Any]] = []
    pictures = show.graph.listen(
        Image, "/robot/render_node/image_raw", on_message=lambda m: arrived.append((time.time(), m.header))
    )
    until(lambda: len(show.infos.messages) - first >= seconds * FPS, 4 * seconds, lambda: "pictures in")
    show.graph.forget(pictures)
    came = {stamp_ns(m.header.stamp) for m in show.infos.messages}
    tracked = [stamp_ns(m.header.stamp) for m in show.states.messages]
    drawn = [stamp_ns(h.stamp) for _, h in arrived]
    assert set(tracked) <= came and tracked == sorted(set(tracked))
    assert set(drawn) <= set(tracked) and drawn == sorted(set(drawn))
    late_s = [at_s - ns * 1e-9 for (at_s, _), ns in zip(arrived, drawn, strict=True)]
    print(f"{len(drawn)} of {seconds * FPS:.0f} drawn, late {np.median(late_s):.3f} s, p95 {np.percentile(late_s, 95):.3f} s")
    assert len(drawn) >= 0.15 * seconds * FPS and 0 < np.median(late_s) < 1.5


def test_the_drawn_person_is_the_one_in_the_picture(show: Show):
    """From the camera's own place, inside the drawn person."""
    learned(show)
    sets = show.together(6, "/robot/image_raw", "/robot/render_node/image_raw", "/robot/render_node/mask")
    found = []
    for picture, drawn, mask in sets:
        labels = values_of(mask)
        inside = moved(((labels > 0) & (labels < 255)).astype(np.float32))
        assert 0.03 < inside.mean() < 0.3
        found.append(psnr(moved(rgb_of(drawn)) / 255, rgb_of(picture) / 255, inside))
    print(f"inside, camera: {np.round(found, 1)} dB")
    assert np.median(found) > 14  # measured: 18


@pytest.mark.skipif(not TRUTH.exists(), reason="needs the ground truth of the sample")
def test_novel_views_are_those_of_the_truth(show: Show):
    """Cameras that the training never saw, published for each tracked picture; the body is the tracker's, not the true one."""
    learned(show)
    remote, sequence = Remote(show.graph, "robot/render_node"), Sequence(TRUTH)
    T_world_optical, views = rigid_inverse(sequence.split("train").cameras[0].T_camera_world), sequence.split("test_view")
    poses = show.graph.talk(PoseStamped, "/robot/view")
    assert remote.set("view.mode", "pose") is None
    until(poses.get_subscription_count, START_S, lambda: "the renderer on view")
    assert views.train_index is not None
    whole, inside = [], []
    for start in (0, len(views) // 2):
        rows = {int(views.train_index[k]): k for k in range(start, start + len(views) // 2)}
        poses.publish(pose_message(rigid_inverse(T_world_optical) @ rigid_inverse(views.cameras[start].T_camera_world)))
        for drawn in drawn_of(show, set(rows)):
            k = rows[show.frame(drawn)]
            picture, truth = moved(rgb_of(drawn)).astype(np.float32) / 255, views.frame(k).rgb.astype(np.float32) / 255
            whole.append(psnr(picture, truth))
            inside.append(psnr(picture, truth, views.mask(k)))
    print(f"novel views: {np.round(whole, 1)} dB, inside {np.round(inside, 1)} dB")
    assert np.median(whole) > 19 and np.median(inside) > 11  # measured: 22 and 14.5


def drawn_of(show: Show, frames: set[int]) -> list[Image]:
    """Published pictures of some of the sample's frames, that were tracked a second or more from now."""
    after_ns = stamp_ns(show.states.next().header.stamp) + 10**9
    sets = show.together(
        4, "/robot/render_node/image_raw", wanted=lambda m: stamp_ns(m.header.stamp) > after_ns and show.frame(m) in frames
    )
    return [drawn for (drawn,) in sets]


def learned(show: Show) -> None:
    show.snapshots.matching(lambda m: m.iterations >= LEARNED, START_S)


def moved(picture: np.ndarray) -> np.ndarray:
    """A node's principal point is in the middle, the sample's is not: the same picture with the latter."""
    shift = np.array([[1, 0, CENTER_PX[0] - SIZE_PX / 2], [0, 1, CENTER_PX[1] - SIZE_PX / 2]])
    return cv2.warpAffine(picture, shift, (SIZE_PX, SIZE_PX))


def pose_message(T_optical_view: np.ndarray) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = "camera_optical_frame"
    fill_rigid(message.pose.position, message.pose.orientation, T_optical_view)
    return message


def test_it_ends_cleanly(show: Show):
    assert show.launch.code == 0
    assert show.launch.said.count("process has finished cleanly") == 4, show.launch.said  # with ros2 bag record
    assert "Traceback" not in show.launch.said


def test_what_was_recorded_can_be_played_and_drawn_again(show: Show, tmp_path: Path):
    """By `ros2 bag play`, with the avatar that the training left."""
    assert show.launch.code == 0
    heard = {stamp_ns(m.header.stamp): m for m in show.states.messages}
    options = {"avatar_file": str(show.avatar), "autostart": True, "view.lens.width": 64, "view.lens.height": 64}
    with (
        participant("bag_test") as graph,
        NodeProcess(
            "render_node", tmp_path, options, {"__node": "again", "body_state": "/robot/avatar_node/body_state"}
        ) as node,
    ):
        states, pictures = graph.listen(BodyState, "/robot/avatar_node/body_state"), graph.listen(Image, "/again/image_raw")
        until(lambda: graph.node.count_subscribers("/robot/avatar_node/body_state") == 3, START_S, lambda: node.said)
        command = ["ros2", "bag", "play", str(show.bag), "--rate", "2", "--disable-keyboard-controls"]
        with played(command, tmp_path / "play.log"):
            drawn = pictures.wait(10, START_S)
            read = states.wait(20, START_S)
    # The recorder may have heard a state or two before or after this test.
    known = [m for m in read if stamp_ns(m.header.stamp) in heard]
    assert len(known) >= len(read) - 4 and all(m.pose == heard[stamp_ns(m.header.stamp)].pose for m in known)
    assert {stamp_ns(m.header.stamp) for m in drawn} <= {stamp_ns(m.header.stamp) for m in states.messages}
    assert all((rgb_of(m) < 250).any() for m in drawn)


@contextmanager
def played(command: list[str], log: Path) -> Iterator[None]:
    process = started(command, log)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(END_S)
