"""One run measured at several times. Kinds: behaviour on a tiny sequence, refusal, round trip of the picture."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fmgs_core.config import Pace, SessionConfig
from fmgs_core.evaluation.ablation import COLUMNS
from fmgs_core.evaluation.evaluate import EvaluationConfig
from fmgs_core.evaluation.marks import Mark, marks_json, marks_markdown, marks_svg, measure_at

CONFIG = SessionConfig(gaussians=0)
GIVEN = EvaluationConfig("true", "true")


def marks() -> tuple[Mark, ...]:
    rng = np.random.default_rng(0)
    names = (*COLUMNS, "iterations", "frames_seen", "mpjpe_mm")
    return tuple(Mark(t, {name: float(rng.uniform(1, 30)) for name in names}) for t in (20.02, 60.1, 180.0))


def test_later_marks_know_more(tiny: Path):
    early, late = measure_at(tiny, (4.0, 1.5), GIVEN, CONFIG)
    # A mark comes with the end of a training step: how long that takes is the machine's affair, the order is not.
    assert 1.5 <= early.elapsed_s < late.elapsed_s and late.elapsed_s >= 4.0
    assert 1 <= early.figures["iterations"] < late.figures["iterations"]
    assert early.figures["psnr_view"] != late.figures["psnr_view"]
    assert early.figures.keys() == late.figures.keys() >= COLUMNS.keys()


@pytest.mark.parametrize("times", [(), (0.0, 20.0), (float("nan"),)])
def test_times_are_checked(tiny: Path, times: tuple[float, ...]):
    with pytest.raises(ValueError, match=r"at_s: expected one or more positive times, got"):
        measure_at(tiny, times, GIVEN, CONFIG)


def test_a_fit_that_has_no_budget_has_no_marks(tiny: Path):
    with pytest.raises(ValueError, match=r"EvaluationConfig.pace: expected"):
        measure_at(tiny, (20.0,), EvaluationConfig("true", "true", pace=Pace.ALL), CONFIG)


def test_tables_have_a_row_for_every_mark():
    lines = marks_markdown(marks()).splitlines()
    assert len(lines) == 5 and lines[2].startswith("| 20.0 |") and "MPJPE [mm]" in lines[0]
    assert len({line.count("|") for line in lines}) == 1
    assert [row["elapsed_s"] for row in json.loads(marks_json(marks()))] == [20.02, 60.1, 180.0]


def test_the_picture_stands_alone():
    svg = marks_svg(marks())
    texts = " ".join(ElementTree.fromstring(svg).itertext())
    assert "time [s]" in texts and "chamfer [mm]" in texts and "prefers-color-scheme: dark" in svg
