"""Imports of fmgs_core point one way. Kind: structure, read with ast so that imports inside functions count too."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LEVELS = (
    {"types", "geometry", "concurrency", "atomic"},
    {"body", "mapfiles", "keypoints"},
    {"raster", "priors", "stream", "export"},
    {"avatar"},
    {"tracking", "training", "rendering", "transport"},
    {"config"},
    {"session"},
    {"evaluation", "doctor", "benchmark"},
    {"cli"},
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
ROS = ("rclpy", "fmgs_ros", "cv_bridge", "launch_ros", "sensor_msgs", "std_msgs", "geometry_msgs", "vision_msgs", "tf2_ros")


def imported_modules(tree: ast.AST, package: str) -> Iterator[str]:
    """Dotted names that a module of `package` imports, relative ones resolved, import_module("...") included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = (
                ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [node.module])])
                if node.level
                else node.module
            )
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", None)) == "import_module":
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def complaint(importer: str, imported: str) -> str | None:
    """Why a module of the part `importer` may not import the dotted name, or None when it may."""
    root, *rest = imported.split(".")
    if root in ROS:
        return f"knows ROS: {imported}"
    if root != "fmgs_core" or not rest or rest[0] == importer or rest[0].startswith("__"):
        return None
    if importer == "__init__" or LEVEL.get(rest[0], len(LEVELS)) >= LEVEL[importer]:
        return f"points upwards or sideways: {imported}"
    return None


def complaints(root: Path) -> list[str]:
    found = []
    for file in sorted((root / "fmgs_core").rglob("*.py")):
        module = file.relative_to(root).with_suffix("").parts
        tree, package = ast.parse(file.read_text()), ".".join(module[:-1])
        if module[1] not in LEVEL and module[1] != "__init__":
            found.append(f"{'/'.join(module)}: has no level; give {module[1]!r} one in {Path(__file__).name}")
            continue
        reasons = (complaint(module[1], name) for name in imported_modules(tree, package))
        found += [f"{'/'.join(module)}: {reason}" for reason in reasons if reason]
    return found


def test_imports_point_one_way():
    assert complaints(REPOSITORY) == []


@pytest.mark.parametrize(
    ("file", "source", "allowed"),
    [
        ("avatar/model.py", "from fmgs_core.body.template import BodyModel", True),
        ("avatar/model.py", "from fmgs_core import __version__", True),
        ("avatar/model.py", "from .binding import bind", True),
        ("avatar/model.py", "import numpy", True),
        ("avatar/model.py", "def f():\n    from fmgs_core.training import losses", False),
        ("avatar/model.py", "from fmgs_core import session", False),
        ("avatar/model.py", "from ..tracking import solver", False),
        ("raster/cpu.py", "import fmgs_core.priors", False),
        ("types.py", "import fmgs_core.geometry", False),
        ("cli.py", "import rclpy", False),
        ("session.py", "import importlib\nimportlib.import_module('fmgs_ros.convert')", False),
        ("__init__.py", "from .types import Frame", False),
        ("novelty.py", "", False),
    ],
)
def test_the_check_tells_right_from_wrong(tmp_path: Path, file: str, source: str, allowed: bool):
    path = tmp_path / "fmgs_core" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert (complaints(tmp_path) == []) is allowed
