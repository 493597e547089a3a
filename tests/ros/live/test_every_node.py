"""What the nodes have in common. Kinds: contract, behaviour."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rcl_interfaces.srv import DescribeParameters, ListParameters

from .harness import REPOSITORY, START_S, NodeProcess, participant, until

OF_EVERY_NODE = ("use_sim_time", "start_type_description_service", "qos_overrides")


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
