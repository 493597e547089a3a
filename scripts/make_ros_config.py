"""Writes config/*.yaml: every parameter of every node with its default, its range and what it does, from the dataclasses.

python scripts/make_ros_config.py [folder]
"""

import math
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fmgs_ros.avatar_config import ONLINE_PRESETS, AvatarConfig
from fmgs_ros.parameter_tree import Kind, Leaf, leaves
from fmgs_ros.player import CaptureConfig
from fmgs_ros.render_config import RenderConfig

CONFIG = Path(__file__).parents[1] / "config"
WIDTH = 120
HEAD = "Written by scripts/make_ros_config.py: copy it, keep the lines that you change, and pass the copy as params_file:=."


AUTOSTART = Leaf("autostart", Kind(bool), False, "Configure and activate at once, without a launch file.", None)
PRESET = Leaf("preset", Kind(str), "cpu", f"Where session.* starts from. One of: {', '.join(ONLINE_PRESETS)}.", None)


def files() -> dict[str, str]:
    """Text of each file by its name."""
    return {
        "capture.yaml": text("capture_node", [AUTOSTART, *leaves(CaptureConfig())]),
        "avatar.yaml": text("avatar_node", [AUTOSTART, PRESET, *leaves(AvatarConfig())]),
        "render.yaml": text("render_node", [AUTOSTART, *leaves(RenderConfig())]),
    }


def text(node: str, tree: list[Leaf]) -> str:
    lines = [f"# Parameters of {node}.", f"# {HEAD}", "/**:", "  ros__parameters:"]
    return "\n".join([*lines, *_body(tree)]) + "\n"


def _body(tree: list[Leaf]) -> Iterator[str]:
    """Nested maps; a line of the map's name before its first leaf."""
    inside: list[str] = []
    for leaf in tree:
        *groups, name = leaf.path.split(".")
        shared = 0
        while shared < min(len(groups), len(inside)) and groups[shared] == inside[shared]:
            shared += 1
        for depth in range(shared, len(groups)):
            yield f"{_indent(depth)}{groups[depth]}:"
        inside = groups
        yield from _comment(leaf, _indent(len(groups)))
        yield f"{_indent(len(groups))}{name}: {_written(leaf.value)}"


def _indent(depth: int) -> str:
    return "  " * (depth + 2)


def _comment(leaf: Leaf, indent: str) -> list[str]:
    said = f"{leaf.description} {_range(leaf)}".strip()
    return textwrap.wrap(said, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_on_hyphens=False)


def _range(leaf: Leaf) -> str:
    if leaf.bounds is None:
        return ""
    low, high = leaf.bounds
    return f"[at least {low:g}]" if high >= 2**63 - 1 else f"[{low:g} to {high:g}]"


def _written(value: Any) -> str:
    """As rcl's parser reads it: a float keeps its point, a text its quotes."""
    if isinstance(value, list):
        return f"[{', '.join(_written(v) for v in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return ".nan" if math.isnan(value) else repr(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else str(value)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else CONFIG
    for name, content in files().items():
        (folder / name).write_text(content)
        print(folder / name)


if __name__ == "__main__":
    main()
