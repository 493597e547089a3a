"""Presets and tables on the command line. Kinds: behaviour, refusal."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from fmgs_core.cli.main import COMMANDS
from fmgs_core.cli.presets import chosen_preset, subcommands
from fmgs_core.config import PRESETS, SessionConfig
from tests.core.stream.datasets.folders import write_zju
from tests.core.stream.datasets.people import write_smpl

from .conftest import Fmgs
from .streams import Stage, write_folder

FEW = ("--config.final-iterations", 3, "--config.gaussians", 0)


def parsed(*arguments: str) -> object:
    return tyro.cli(subcommands(COMMANDS, chosen_preset(arguments)), args=arguments)


@pytest.mark.parametrize(
    ("arguments", "preset"),
    [
        (("run", "0"), "cpu"),
        (("run", "0", "--preset", "gpu"), "gpu"),
        (("run", "--preset=paper", "0"), "paper"),
        (("eval", "--table", "zju"), "paper"),
        (("eval", "--table=zju", "--preset", "cpu"), "cpu"),
    ],
)
def test_flags_start_from_the_preset(arguments: tuple[str, ...], preset: str):
    command = parsed(*arguments)
    assert (command.preset, command.config) == (preset, PRESETS[preset])  # type: ignore[attr-defined]


def test_flags_override_the_preset():
    command = parsed("run", "0", "--preset", "paper", "--config.final-iterations", "7", "--config.trainer.weights.mask", "0.2")
    paper = PRESETS["paper"]
    trainer = replace(paper.trainer, weights=replace(paper.trainer.weights, mask=0.2))
    assert command.config == replace(paper, final_iterations=7, trainer=trainer)  # type: ignore[attr-defined]


def test_without_a_preset_nothing_changes():
    assert parsed("run", "0").config == SessionConfig()  # type: ignore[attr-defined]


def test_an_unknown_preset_is_refused_with_the_known_ones(fmgs: Fmgs):
    code, said = fmgs("run", "0", "--preset", "tpu")
    assert code == 2 and all(name in said for name in PRESETS)


def test_help_lists_the_presets(fmgs: Fmgs):
    for command in ("run", "eval"):
        code, said = fmgs(command, "--help")
        assert code == 0 and "--preset {cpu,gpu,paper}" in said


def test_the_paper_preset_wants_a_recording(fmgs: Fmgs, tmp_path: Path, stage: Stage):
    folder = write_folder(tmp_path / "pictures", [stage.room()])
    code, said = fmgs("run", folder, "--preset", "paper", "--pace", "live", "--out", tmp_path / "out")
    assert code == 1 and "--preset paper: expected a recording at pace all" in said


def test_a_table_from_data_as_published(fmgs: Fmgs, tmp_path: Path):
    body = write_smpl(tmp_path / "models" / "SMPL_NEUTRAL.npz")
    write_zju(tmp_path / "zju", body)
    code, said = fmgs(
        "eval", "--table", "zju", "--data", tmp_path / "zju", "--body", body.parent, "--subjects", "392",
        "--json", tmp_path / "zju.json", *FEW,
    )  # fmt: skip
    assert code == 0, said
    assert "ZJU-MoCap" in said and "FMGS-Avatar" in said and "LPIPS is not measured" in said
    content = json.loads((tmp_path / "zju.json").read_text())
    assert content["ours"]["392"]["iterations"] == 3 and content["published"]["FMGS-Avatar"]["mean"]["psnr"] == 30.89


@pytest.mark.parametrize("given", [(), ("--table", "zju"), ("--table", "zju", "--data", "."), ("here", "--table", "zju")])
def test_what_a_measurement_needs_is_said(fmgs: Fmgs, given: tuple[str, ...]):
    code, said = fmgs("eval", *given)
    assert code == 1 and "eval" in said and "expected" in said and "--body" in said


def test_missing_data_is_named(fmgs: Fmgs, tmp_path: Path):
    body = write_smpl(tmp_path / "SMPL_NEUTRAL.npz")
    code, said = fmgs("eval", "--table", "neuman", "--data", tmp_path, "--body", body)
    assert code == 1 and "bike: expected the folder of sequence bike" in said and "Traceback" not in said
