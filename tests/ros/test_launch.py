"""Launch files import, describe themselves and give the nodes that their arguments ask for. Kind: behaviour. Needs launch."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("launch_ros", reason="needs ROS (launch_ros)")

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.utilities import perform_substitutions
from launch_ros.actions import LifecycleNode, Node
from launch_ros.utilities import evaluate_parameters

REPOSITORY = Path(__file__).parents[2]
FILES = sorted((REPOSITORY / "launch").glob("*.launch.py"))
ASKED = (
    "source", "image", "preset", "prior", "device", "namespace", "body_id", "use_sim_time", "params_file", "rviz", "foxglove",
    "record", "python", "log_level", "respawn",
)  # fmt: skip


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "launch" / f"{name}.launch.py")
    assert spec and spec.loader
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


def found(name: str, **given: str) -> list[Any]:
    """The actions of a launch file with arguments."""
    try:
        get_package_share_directory("fmgs_ros")
    except PackageNotFoundError:
        pytest.skip("needs a build of this package (colcon build)")
    module, context = loaded(name), LaunchContext()
    defaults = {argument: values[0] for argument, values in module.ARGUMENTS.items()}
    context.launch_configurations.update(defaults | given)
    return module.actions(context)


def executables(actions: list[Any]) -> list[str]:
    context = LaunchContext()
    nodes = [action for action in actions if isinstance(action, Node)]
    return [perform_substitutions(context, _list(node.node_executable)) for node in nodes]


def _list(value: Any) -> list:
    from launch.utilities import normalize_to_list_of_substitutions

    return normalize_to_list_of_substitutions(value)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_arguments_are_described(file: Path):
    description = loaded(file.name.removesuffix(".launch.py")).generate_launch_description()
    arguments = [entity for entity in description.entities if isinstance(entity, DeclareLaunchArgument)]
    assert arguments and all(len(argument.description) > 10 for argument in arguments)


def test_avatar_takes_what_the_issue_asks_for():
    assert set(ASKED) <= set(loaded("avatar").ARGUMENTS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["avatar_node", "render_node"]),
        ({"render": "false"}, ["avatar_node"]),
        ({"source": "sample"}, ["capture_node", "avatar_node", "render_node"]),
        ({"rviz": "true", "foxglove": "true", "aggregator": "true"},
         ["avatar_node", "render_node", "rviz2", "foxglove_bridge", "aggregator_node"]),
    ],
)  # fmt: skip
def test_nodes_are_those_asked_for(given: dict[str, str], expected: list[str]):
    assert executables(found("avatar", **given)) == expected


def test_our_nodes_are_lifecycle_nodes():
    nodes = [action for action in found("avatar", source="sample") if isinstance(action, Node)]
    assert all(isinstance(node, LifecycleNode) for node in nodes)


@pytest.mark.parametrize("source", ["0", "/dev/video0", "rtsp://host/stream", "on"])
def test_texts_stay_texts(source: str):
    """Launch writes parameters as yaml, to which a camera index is a number."""
    capture = next(action for action in found("avatar", source=source) if isinstance(action, Node))
    given = [d for d in capture._Node__parameters if isinstance(d, dict)]
    values: dict[str, Any] = {}
    for parameters in evaluate_parameters(LaunchContext(), given):
        assert isinstance(parameters, dict)
        values |= parameters
    assert values["source"] == source and values["calibration"] == "" and values["loop"] is False


def test_a_record_is_of_the_namespaces_topics():
    (process,) = [
        action
        for action in found("avatar", namespace="robot", record="bag")
        if isinstance(action, ExecuteProcess) and not isinstance(action, Node)
    ]
    words = [perform_substitutions(LaunchContext(), part) for part in process.cmd]
    assert words[:3] == ["ros2", "bag", "record"] and str(Path("bag").absolute()) in words
    assert "/robot/avatar_node/snapshot" in words and "/tf" in words


def test_replay_draws_only_what_is_published():
    assert executables(found("replay")) == ["replay"]
    assert executables(found("replay", publish="true")) == ["replay", "render_node"]
