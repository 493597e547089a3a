"""Behaviour of `fmgs eval` within seconds, and of `fmgs doctor` on this machine."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from .conftest import Fmgs

PICTURE = ("psnr", "ssim", "flip", "psnr_in", "ssim_in", "flip_in", "mask_iou", "miou28", "normal_deg", "depth_mm")
FIT = {"fit_wall_s", "iterations", "frames_seen", "chamfer_mm"}
TRACKED = {"mpjpe_mm", "pa_mpjpe_mm", "root_mm", "root_x_mm", "root_y_mm", "root_z_mm"}


@pytest.fixture
def sequence(shared: Path, tmp_path: Path) -> Path:
    """The ground-truth sequence with two frames in each test split: measuring all of them takes a minute."""
    full, short = shared / "gt" / "dressed_a", tmp_path / "short"
    short.mkdir()
    for name in ("canonical.ply", "train"):
        (short / name).symlink_to(full / name)
    meta = json.loads((full / "meta.json").read_text())
    for split in ("test_view", "test_pose"):
        count = meta["splits"][split]["frames"]
        meta["splits"][split] |= dict.fromkeys(("frames", "rgb", "mask", "depth", "normal", "label"), 2)
        (short / split).mkdir()
        for kind in ("rgb", "mask", "depth", "normal", "label"):
            (short / split / kind).symlink_to(full / split / kind)
        with np.load(full / split / "params.npz") as params:
            cut = {name: value[:2] if len(value) == count else value for name, value in params.items()}
        np.savez(short / split / "params.npz", **cut)
    (short / "meta.json").write_text(json.dumps(meta))
    return short


@pytest.mark.slow
@pytest.mark.parametrize(("poses", "priors"), [("tracked", "auto"), ("true", "true")])
def test_every_figure_is_there_and_finite(fmgs: Fmgs, sequence: Path, tmp_path: Path, poses: str, priors: str):
    file = tmp_path / "new" / "figures.json"
    code, said = fmgs(
        "eval", sequence, "--poses", poses, "--priors", priors, "--budget-s", 3,
        "--json", file, "--pictures", tmp_path / "pictures",
    )  # fmt: skip
    assert code == 0, said
    figures = json.loads(file.read_text())
    pictures = {f"{name}_{split}" for name in PICTURE for split in ("view", "pose")}
    assert set(figures) == pictures | FIT | (TRACKED if poses == "tracked" else set())
    assert np.isfinite(list(figures.values())).all()
    # A person somewhere, and hardly trained: how many steps three seconds are is the machine's affair.
    assert figures["mask_iou_view"] > 0.3 and 10 < figures["psnr_view"] < 60 and figures["chamfer_mm"] < 100
    assert figures["frames_seen"] >= 1 and figures["iterations"] >= 1
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {"view.png", "pose.png"}
    assert cv2.imread(str(tmp_path / "pictures" / "view.png")).shape[1] % 512 == 0


def test_a_folder_without_a_sequence_is_refused(fmgs: Fmgs, tmp_path: Path):
    code, said = fmgs("eval", tmp_path)
    assert code == 1 and "error:" in said and "Traceback" not in said


def test_the_budget_must_be_positive(fmgs: Fmgs, tmp_path: Path):
    code, said = fmgs("eval", tmp_path, "--budget-s", "nan")
    assert code == 1 and "EvaluationConfig.budget_s: expected more than zero seconds, got nan" in said


def test_one_run_is_measured_at_several_times(fmgs: Fmgs, tiny: Path, tmp_path: Path):
    given = ("--poses", "true", "--priors", "true", "--config.gaussians", 0)
    code, said = fmgs("eval", tiny, *given, "--at", 1, 2, "--out", tmp_path / "new")
    assert code == 0, said
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"marks.json", "marks.md", "marks.svg"}
    assert len(json.loads((tmp_path / "new" / "marks.json").read_text())) == 2
    assert (tmp_path / "new" / "marks.md").read_text() in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--ablation",), "eval --ablation: expected a sequence folder and --out DIR"),
        (("--at", 20, "--preset", "paper"), "eval --at: expected a sequence folder and a preset that fits online, got 'paper'"),
        (("--maps", "elsewhere"), "EvaluationConfig.maps: expected none with priors 'auto', got elsewhere"),
    ],
)
def test_what_does_not_go_together_is_refused(fmgs: Fmgs, tiny: Path, arguments: tuple, sentence: str):
    code, said = fmgs("eval", tiny, *arguments)
    assert code == 1 and sentence in said and "Traceback" not in said


def test_doctor_says_what_is_used(fmgs: Fmgs):
    code, said = fmgs("doctor")
    assert code == 0
    assert "rasterizer in use" in said and "prior in use" in said
