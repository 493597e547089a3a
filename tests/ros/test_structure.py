"""What imports what in fmgs_ros. Kind: structure, read with ast."""

import ast
from pathlib import Path

import pytest

from tests.core.test_imports import imported_modules

REPOSITORY = Path(__file__).parents[2]
MODULES = sorted((REPOSITORY / "fmgs_ros").glob("*.py"))
NEEDS_ROS = {"humans", "launching", "lifecycle", "params", "replay"}
"""Modules that import ROS when they are imported, as those do whose name ends in _node or _topics. All others are tested
without it, and import it inside of functions."""
ROS = {
    "rclpy", "rcl_interfaces", "builtin_interfaces", "std_msgs", "std_srvs", "sensor_msgs", "geometry_msgs", "vision_msgs",
    "diagnostic_msgs", "lifecycle_msgs", "hri_msgs", "tf2_ros", "tf2_msgs", "cv_bridge", "launch", "launch_ros",
    "ament_index_python", "visualization_msgs",
}  # fmt: skip


def needs_ros(name: str) -> bool:
    root, *rest = name.split(".")
    return root in ROS or (root == "fmgs_ros" and bool(rest) and (rest[0] in ("msg", "srv") or may_need_ros(rest[0])))


def may_need_ros(module: str) -> bool:
    return module in NEEDS_ROS or module.endswith(("_node", "_topics"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_modules_beside_the_nodes_can_be_imported_without_ros(file: Path):
    tree = ast.parse(file.read_text())
    inside = {child for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for child in ast.walk(f)}
    outside = ast.Module([node for node in ast.walk(tree) if node not in inside and isinstance(node, ast.stmt)], [])
    statements = [n for n in outside.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {name for statement in statements for name in imported_modules(statement, "fmgs_ros")}
    found = sorted(name for name in names if needs_ros(name))
    assert may_need_ros(file.stem) or not found, found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.stem)
def test_nodes_do_not_stand_on_the_command_line(file: Path):
    names = imported_modules(ast.parse(file.read_text()), "fmgs_ros")
    assert not [name for name in names if name.startswith("fmgs_core.cli")]
