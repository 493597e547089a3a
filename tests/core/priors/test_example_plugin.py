"""examples/rgbd_priors as a user installs it. Kinds: behaviour in numbers on ground truth, refusal, end to end."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.priors import Prior
from fmgs_core.priors.plugins import load_plugin
from fmgs_core.stream.sequence import Sequence
from fmgs_core.types import Frame

EXAMPLE = Path(__file__).parents[3] / "examples" / "rgbd_priors"
FRAMES = (0, 40)


@pytest.fixture(scope="module")
def train(shared: Path):
    return Sequence(shared / "gt" / "dressed_a").split("train")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry point that pyproject.toml states, as pip writes it down."""
    project = (EXAMPLE / "pyproject.toml").read_text()
    (entry,) = project.split('[project.entry-points."fmgs.priors"]\n')[1].splitlines()
    info = tmp_path / "rgbd_priors-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rgbd_priors\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[fmgs.priors]\n" + entry.replace('"', "") + "\n")
    for path in (tmp_path, EXAMPLE):
        monkeypatch.syspath_prepend(str(path))
    monkeypatch.delitem(sys.modules, "rgbd_priors", raising=False)


@pytest.fixture
def pictures(tmp_path: Path, train) -> Path:
    """Depth of two frames in millimetres with 2 mm of noise, named in seconds and in nanoseconds."""
    folder, rng = tmp_path / "depth", np.random.default_rng(0)
    folder.mkdir()
    for k, (i, name) in enumerate(zip(FRAMES, ("{}.{:06d}.png", "{}{:09d}.png"), strict=True)):
        seconds, rest = divmod(int(train.stamps_ns[i]), 10**9)
        depth = np.nan_to_num(1000 * train.depth(i) + rng.normal(0, 2, train.depth(i).shape), nan=0.0)
        path = folder / name.format(seconds, rest // 1000 if k == 0 else rest)
        assert cv2.imwrite(str(path), depth.clip(0, 65535).astype(np.uint16))
    return folder


def test_depth_pictures_become_normals_and_depth(installed: None, pictures: Path, train):
    made = load_plugin("rgbd", {"depth": str(pictures), "trust": "0.5"}).made
    assert isinstance(made, Prior)
    for i in FRAMES:
        maps, true_depth, true_normal = made.predict(train.frame(i)), train.depth(i), train.normal(i)
        assert maps.normal is not None and maps.depth is not None and maps.geometry_trust == 0.5
        known = (np.abs(maps.normal).sum(-1) > 0) & np.isfinite(true_depth)
        assert known.sum() > 0.7 * np.isfinite(true_depth).sum()  # measured 0.79: edges are left out
        cosine = (maps.normal[known] * true_normal[known]).sum(-1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).mean() < 8  # measured 5.3
        assert np.nanmean(np.abs(maps.depth[known] - true_depth[known])) < 0.002  # measured 0.0009


def test_frames_without_a_depth_picture_have_no_maps(installed: None, pictures: Path, train):
    made = load_plugin("rgbd", {"depth": str(pictures)}).made
    assert isinstance(made, Prior)
    frame = train.frame(20)
    assert made.predict(frame).depth is None
    assert made.predict(Frame(int(train.stamps_ns[0]) + 10_000_000, frame.rgb, frame.camera)).depth is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "rgbd option depth: expected a folder of PNGs named by time, got '.'"),
        ({"depht": "x"}, "rgbd options: expected some of depth, unit_m, tolerance_s, trust, got depht"),
    ],
)
def test_options_that_say_nothing_are_refused(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], message: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_plugin("rgbd", options)
