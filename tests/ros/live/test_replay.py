"""`replay` as a process. Kinds: determinism, behaviour."""

import signal
from pathlib import Path

import pytest
import yaml
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from fmgs_core.avatar.snapshot import load_avatar
from fmgs_core.stream import open_source
from fmgs_ros.convert import stamp_ns
from fmgs_ros.msg import BodyState

from .harness import REPOSITORY, START_S, NodeProcess, participant, until
from .launched import launched

SAMPLE = REPOSITORY / "samples" / "dressed_a"
SMALL = {
    "session.gaussians": 0,
    "session.trainer.memory.crop_max_px": 96,
    "session.iterations_per_frame": 1,
    "session.final_iterations": 2,
}
END_S, PICTURES = 180.0, 30


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beginning of the sample."""
    short = tmp_path_factory.mktemp("bag") / "short"
    with Reader(SAMPLE) as reader, Writer(short, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        store = get_typestore(Stores.ROS2_JAZZY)
        topics = {c.topic: writer.add_connection(c.topic, c.msgtype, typestore=store) for c in reader.connections}
        pictures = 0
        for connection, stamp_ns_, raw in reader.messages():
            writer.write(topics[connection.topic], stamp_ns_, raw)
            pictures += "Image" in connection.msgtype
            if pictures == PICTURES:
                break
    return short


def replayed(folder: Path, **options: object) -> tuple[NodeProcess, int]:
    """As `ros2 run fmgs_ros replay` would; the exit code."""
    with NodeProcess("replay", folder, SMALL | options | {"autostart": True}) as node:
        until(lambda: not node.is_running, END_S, lambda: node.said)
        return node, node.end()


def test_the_same_bag_gives_the_same_file_whether_it_publishes_or_not(bag: Path, tmp_path: Path):
    """Every picture is looked at and told of, in order, with its own stamp."""
    files = [tmp_path / "published.safetensors", tmp_path / "quiet.safetensors"]
    with participant("replay_test") as graph:
        states = graph.listen(BodyState, "/replay/body_state")
        for file, publish in zip(files, (True, False), strict=True):
            node, code = replayed(tmp_path, bag=str(bag), out=str(file), publish=publish)
            assert code == 0, node.said
        stamps = [stamp_ns(m.header.stamp) for m in states.messages]
    assert files[0].read_bytes() == files[1].read_bytes()
    with open_source(bag) as source:
        assert stamps == [frame.stamp_ns for frame in iter(source.read, None)]
    assert len(stamps) == PICTURES and load_avatar(files[0]).iterations == PICTURES + 2


def test_the_launch_file_ends_when_the_avatar_is_written(bag: Path, tmp_path: Path):
    (params := tmp_path / "small.yaml").write_text(yaml.safe_dump({"/**": {"ros__parameters": SMALL}}))
    out = tmp_path / "a.safetensors"
    with launched(tmp_path, "replay.launch.py", f"bag:={bag}", f"out:={out}", f"params_file:={params}") as launch:
        until(lambda: launch.process.poll() is not None, END_S + START_S, lambda: launch.said)
        assert launch.process.returncode == 0 and load_avatar(out).iterations == PICTURES + 2, launch.said
    assert "process has finished cleanly" in launch.said and "Traceback" not in launch.said


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_the_middle_without_a_file(bag: Path, tmp_path: Path, signum: int):
    options = SMALL | {
        "session.iterations_per_frame": 100,
        "bag": str(bag),
        "out": str(tmp_path / "a.safetensors"),
        "publish": True,
    }
    with participant("replay_test") as graph, NodeProcess("replay", tmp_path, options | {"autostart": True}) as node:
        graph.listen(BodyState, "/replay/body_state").wait(1, START_S)
        assert node.end(signum) == 0, node.said
    assert not (tmp_path / "a.safetensors").exists() and "Traceback" not in node.said


def test_a_recording_that_does_not_open_ends_it_with_an_error(tmp_path: Path):
    node, code = replayed(tmp_path, bag=str(tmp_path / "none"), out=str(tmp_path / "a.safetensors"))
    assert code == 1 and "expected a camera index, a URL, or an existing file or folder" in node.said
    assert "Traceback" not in node.said
    assert not (tmp_path / "a.safetensors").exists()
