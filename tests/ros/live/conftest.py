"""Tests on a real ROS 2, where one is sourced and the package is built; elsewhere they are skipped and say what they lack."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

# Nothing leaves this machine, and nobody else's graph is joined; a domain chosen outside is kept.
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_DOMAIN_ID", "42")

LACKS = "needs ROS 2 and a build of this package: make test-ros"

IS_BUILT = find_spec("rclpy") is not None and find_spec("fmgs_ros.msg") is not None


class Skipped(pytest.Module):
    """In place of a module that imports rclpy."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        pytest.skip(LACKS, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if IS_BUILT else Skipped.from_parent(parent, path=module_path)
