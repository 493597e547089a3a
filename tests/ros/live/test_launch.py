"""avatar.launch.py on the sample bag, and what all nodes have in common. Kinds: behaviour, contract."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from rcl_interfaces.srv import DescribeParameters, ListParameters
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from fmgs_ros.convert import stamp_ns
from fmgs_ros.msg import AvatarSnapshot, BodyState

from .harness import END_S, REPOSITORY, START_S, NodeProcess, participant, until

# One Gaussian per face: what is tested here does not depend on their number.
SMALL = {"/**": {"ros__parameters": {"session": {"gaussians": 0}}}}
OF_EVERY_NODE = ("use_sim_time", "start_type_description_service", "qos_overrides")


class Launched:
    """`ros2 launch` with default signal handlers and a log."""

    def __init__(self, folder: Path, *words: str):
        self._log = folder / "launch.log"
        with self._log.open("w") as log:
            command = ["ros2", "launch", "fmgs_ros", *words]
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def said(self) -> str:
        return self._log.read_text()


@contextmanager
def launched(folder: Path, *words: str) -> Iterator[Launched]:
    """Ended with SIGINT, which reaches the nodes; SIGTERM would orphan them."""
    found = Launched(folder, *words)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.process.send_signal(signal.SIGINT)
            found.process.wait(2 * END_S)


def built() -> None:
    try:
        get_package_prefix("fmgs_ros")
    except PackageNotFoundError:
        pytest.skip("needs a build of this package (colcon build)")


def test_a_launch_on_the_sample_tracks_learns_draws_and_ends_cleanly(tmp_path: Path):
    built()
    (params := tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    words = (f"params_file:={params}", "source:=sample", "loop:=true", "namespace:=robot", "body_id:=ada")
    with participant("launch_test") as graph, launched(tmp_path, "avatar.launch.py", *words) as launch:
        states = graph.listen(BodyState, "/robot/avatar_node/body_state")
        snapshots = graph.listen(AvatarSnapshot, "/robot/avatar_node/snapshot", latched=True)
        pictures = graph.listen(Image, "/robot/render_node/image_raw")
        frames = graph.listen(TFMessage, "/tf")
        state = states.matching(lambda m: m.status == BodyState.TRACKING, 2 * START_S)
        assert state.header.frame_id == "camera_optical_frame" and state.body_id == "ada" and len(state.pose) == 165
        # The person of the sample stands about three metres away.
        assert 2.0 < state.transl[2] < 5.0
        assert snapshots.wait(1, START_S)[0].gaussians > 20_000
        drawn = pictures.wait(3, START_S)
        tracked = {stamp_ns(m.header.stamp) for m in states.messages}
        assert all(stamp_ns(m.header.stamp) in tracked for m in drawn[1:])
        told = {transform.child_frame_id for message in frames.messages for transform in message.transforms}
        assert {"body_ada", "ada/pelvis", "ada/head"} <= told
        for _ in range(2):
            launch.process.send_signal(signal.SIGINT)
        assert launch.process.wait(2 * END_S) == 0
    assert launch.said.count("process has finished cleanly") == 3, launch.said
    assert "Traceback" not in launch.said


@pytest.mark.parametrize("executable", ["capture_node", "avatar_node", "render_node"])
def test_parameters_are_those_of_the_file_each_with_a_description(executable: str, tmp_path: Path):
    name = executable.removesuffix("_node")
    file = yaml.safe_load((REPOSITORY / "config" / f"{name}.yaml").read_text())
    expected = set(paths(file["/**"]["ros__parameters"]))
    with participant("parameter_test") as graph, NodeProcess(executable, tmp_path, {}, {"__node": name}):
        listed = graph.call(ListParameters, f"/{name}/list_parameters", ListParameters.Request(), START_S).result.names
        names = sorted(n for n in listed if not n.startswith(OF_EVERY_NODE))
        assert names == sorted(expected)
        request = DescribeParameters.Request(names=names)
        described = graph.call(DescribeParameters, f"/{name}/describe_parameters", request).descriptors
        assert not [d.name for d in described if len(d.description) < 4]


def paths(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_a_signal_while_a_node_loads_ends_it_cleanly(signals: tuple[int, ...], tmp_path: Path):
    with NodeProcess("avatar_node", tmp_path, {"autostart": True}) as node:
        until(lambda: Path(f"/proc/{node.pid}/maps").exists() and "libtorch" in maps(node.pid), START_S, lambda: node.said)
        assert node.end(*signals) == 0
        assert "Traceback" not in node.said


def maps(pid: int) -> str:
    """Libraries that a process has loaded."""
    return Path(f"/proc/{pid}/maps").read_text()


def test_a_parameter_that_makes_no_sense_is_told_in_one_line(tmp_path: Path):
    with NodeProcess("render_node", tmp_path, {"view": {"mode": "above"}}) as node:
        until(lambda: not node.is_running, START_S, lambda: node.said)
        assert node.end() == 1
        assert re.search(r"view\.mode: expected one of follow, .* got 'above'", node.said)
        assert "Traceback" not in node.said
