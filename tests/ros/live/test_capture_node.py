"""capture_node on a real graph. Kinds: parity with reading the bag directly, behaviour."""

import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fmgs_core.stream import open_source
from fmgs_core.types import Frame
from fmgs_ros.convert import camera_of, rgb_of, stamp_ns

from .harness import REPOSITORY, START_S, NodeProcess, Participant, participant
from .remote import Remote

SAMPLE = REPOSITORY / "samples" / "dressed_a"
CALIBRATION = """\
image_width: 512
image_height: 512
camera_matrix: {rows: 3, cols: 3, data: [600, 0, 250, 0, 610, 255, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0]}
"""


@cache
def recorded() -> list[Frame]:
    with open_source(SAMPLE) as source:
        return list(iter(source.read, None))


@pytest.fixture(scope="module")
def graph() -> Iterator[Participant]:
    with participant("capture_test") as made:
        yield made


def stamps(messages: list) -> list[int]:
    return [stamp_ns(m.header.stamp) for m in messages]


def test_every_picture_of_a_bag_comes_with_its_stamp_and_camera(graph: Participant, tmp_path: Path):
    """Then it is quiet, the node says why, and two Ctrl-C end it."""
    pictures = graph.listen(CompressedImage, "/every/image_raw/compressed")
    infos = graph.listen(CameraInfo, "/every/camera_info")
    said = graph.listen(DiagnosticArray, "/diagnostics")
    options = {"source": str(SAMPLE), "stamps": "source", "start_when_subscribed": True, "autostart": True, "frame_id": "lens"}
    with NodeProcess("capture_node", tmp_path, options, {"__node": "every"}) as node:
        node.wait_said("to the end")
        frames = recorded()
        assert stamps(pictures.wait(len(frames))) == stamps(infos.wait(len(frames))) == [f.stamp_ns for f in frames]
        assert {m.header.frame_id for m in (*pictures.messages, *infos.messages)} == {"lens"}
        np.testing.assert_allclose(camera_of(infos.messages[0]).K, frames[0].camera.K)
        # Another JPEG of a JPEG, at quality 90.
        assert np.abs(rgb_of(pictures.messages[7]).astype(int) - frames[7].rgb).mean() < 2
        done = said.matching(lambda m: m.status[0].name == "every: state" and "to the end" in m.status[0].message)
        assert done.status[0].level == b"\x00"
        assert node.end(signal.SIGINT, signal.SIGINT) == 0, node.said


def test_a_loop_with_a_calibration_and_a_life_in_two_rounds(graph: Participant, tmp_path: Path):
    """Raw pictures are the bag's, bit for bit; parameters are refused with the reason; SIGTERM ends it."""
    file = tmp_path / "camera.yaml"
    file.write_text(CALIBRATION)
    options = {"source": str(SAMPLE), "loop": True, "speed": 2.0, "calibration": str(file)}
    pictures, infos = graph.listen(Image, "/looped/image_raw"), graph.listen(CameraInfo, "/looped/camera_info")
    with NodeProcess("capture_node", tmp_path, options, {"__node": "looped"}) as node:
        remote = Remote(graph, "looped")
        assert remote.state == "unconfigured"
        for _ in range(2):
            assert remote.change("configure", "activate") and remote.state == "active"
            picture = pictures.next()
            assert any((rgb_of(picture) == frame.rgb).all() for frame in recorded())
            assert list(infos.next().k) == [600, 0, 250, 0, 610, 255, 0, 0, 1]
            assert remote.change("deactivate") and remote.state == "inactive"
            assert remote.change("cleanup")
        assert remote.set("speed", 3.0) is None
        assert "speed" in str(remote.set("speed", -1.0))
        assert remote.set("stamps", "never") == "stamps: expected one of shifted, source, now, got 'never'"
        remote.change("configure", "activate")
        before = len(pictures.messages)
        lap = stamps(pictures.wait(before + len(recorded()) + 5, START_S))[before:]
        assert (np.diff(lap) > 0).all() and max(np.diff(lap)) < 1e9
        assert node.end(signal.SIGTERM) == 0, node.said


def test_a_source_that_is_not_there_is_said_and_can_be_mended(graph: Participant, tmp_path: Path):
    pictures, said = graph.listen(Image, "/mended/image_raw"), graph.listen(DiagnosticArray, "/diagnostics")
    with NodeProcess("capture_node", tmp_path, {"source": "/none.mp4"}, {"__node": "mended"}) as node:
        remote = Remote(graph, "mended")
        assert remote.change("configure") and not remote.change("activate")
        assert remote.state == "unconfigured"
        node.wait_said("expected a camera index, a URL, or an existing file or folder, got '/none.mp4'")
        assert "Traceback" not in node.said
        assert remote.set("source", str(SAMPLE)) is None
        assert remote.change("configure", "activate")
        pictures.wait()
        healthy = said.matching(lambda m: m.status[0].name == "mended: state" and "playing" in m.status[0].message)
        assert healthy.status[0].level == b"\x00"
        assert node.end() == 0, node.said
