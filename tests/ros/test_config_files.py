"""config/: parameter files are current, and all of them are what their readers expect. Kind: contract."""

import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from fmgs_ros.avatar_config import AvatarConfig
from fmgs_ros.parameter_tree import built
from fmgs_ros.player import CaptureConfig
from fmgs_ros.render_config import RenderConfig

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "config"
DEFAULTS = {"capture.yaml": CaptureConfig(), "avatar.yaml": AvatarConfig(), "render.yaml": RenderConfig()}


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_ros_config", REPOSITORY / "scripts" / "make_ros_config.py")
    assert spec and spec.loader
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


@pytest.mark.parametrize("name", DEFAULTS)
def test_parameter_files_are_current(name: str):
    """Else: python scripts/make_ros_config.py"""
    assert (CONFIG / name).read_text() == maker().files()[name]


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_parameter_file_says_the_defaults(name: str):
    parameters = yaml.safe_load((CONFIG / name).read_text())["/**"]["ros__parameters"]
    assert built(DEFAULTS[name], flat(parameters)) == DEFAULTS[name]


def flat(tree: dict, prefix: str = "") -> dict:
    found = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def test_parameter_files_explain_every_line():
    for name in DEFAULTS:
        lines = (CONFIG / name).read_text().splitlines()[4:]
        for above, line in pairwise(lines):
            if not line.strip().startswith("#") and not line.endswith(":"):
                assert above.strip().startswith("#"), line


def test_the_analyzer_looks_for_the_names_that_nodes_have():
    analyzers = yaml.safe_load((CONFIG / "diagnostics.yaml").read_text())["analyzers"]["ros__parameters"]
    looked_for = {text for value in analyzers.values() if isinstance(value, dict) for text in value["contains"]}
    assert looked_for == {f"{node}: " for node in ("capture_node", "avatar_node", "render_node", "replay")}


def test_rviz_shows_topics_of_ours():
    displays = yaml.safe_load((CONFIG / "fmgs.rviz").read_text())["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    assert topics >= {"/render_node/image_raw", "/render_node/mask_color", "/avatar_node/overlay"}


def test_foxglove_shows_topics_of_ours():
    layout = json.loads((CONFIG / "foxglove_layout.json").read_text())
    topics = {panel["imageMode"]["imageTopic"] for name, panel in layout["configById"].items() if name.startswith("Image!")}
    assert topics >= {"/render_node/image_raw/compressed", "/avatar_node/overlay/compressed", "/render_node/mask_color"}
    assert set(panels(layout["layout"])) == set(layout["configById"])


def panels(layout: dict | str) -> list[str]:
    return [layout] if isinstance(layout, str) else panels(layout["first"]) + panels(layout["second"])
