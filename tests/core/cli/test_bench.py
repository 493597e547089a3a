"""`fmgs bench` from end to end at tiny size, and what it refuses. Kind: behaviour.

How fast the machine is stands in no assertion: baselines are made a thousand times better or worse than what was measured.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fmgs_core.benchmark.growth import Growth
from fmgs_core.benchmark.record import read_record
from fmgs_core.cli import benchmark

from .conftest import Fmgs

PEER = Path(__file__).parents[3] / "benchmarks" / "peers" / "raster_twin.cpp"
TINY = ("--size-px", 64, "--person-px", 48, "--repeats", 2, "--warm-up", 1)
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="the peer is compiled with g++")


def scaled(baseline: Path, factor: float) -> None:
    content = json.loads(baseline.read_text())
    for rows in content["figures"].values():
        rows.update({name: figure * factor for name, figure in rows.items()})
    baseline.write_text(json.dumps(content))


@needs_gxx
def test_a_baseline_is_written_and_a_regression_fails(fmgs: Fmgs, tmp_path: Path):
    baseline = tmp_path / "new" / "baseline.json"
    bench = ("bench", "--suites", "render", "--baseline", baseline, "--peer", PEER, *TINY)
    code, said = fmgs(*bench, "--update-baseline")
    assert code == 0, said
    assert "baseline written" in said and "x peer" in said
    assert set(json.loads(baseline.read_text())["figures"]["render"]) >= {"posing", "colour", "everything"}

    scaled(baseline, 1e-3)
    code, said = fmgs(*bench, "--json", tmp_path / "results" / "run.json")
    assert code == 1
    assert "regression: render: posing:" in said and "worse, 25% allowed" in said
    record = read_record(tmp_path / "results" / "run.json")
    assert all(row.ratio is not None and row.ratio > 0 for row in record.measurements)

    scaled(baseline, 1e6)
    code, said = fmgs(*bench)
    assert code == 0, said
    assert "no regression in 4 rows compared" in said and "4 are better by more than their tolerance" in said


@needs_gxx
def test_a_row_that_is_gone_fails(fmgs: Fmgs, tmp_path: Path):
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"format": "fmgs-baseline/1", "figures": {"render": {"rays": 1.0}, "step": {"x": 1.0}}}))
    code, said = fmgs("bench", "--suites", "render", "--baseline", baseline, "--peer", PEER, *TINY)
    assert code == 1
    assert "regression: render: rays: in the baseline, but no longer measured" in said and "step: x" not in said


def test_without_the_peer_values_are_printed_and_it_is_said_why(fmgs: Fmgs, tmp_path: Path):
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"format": "fmgs-baseline/1", "figures": {"render": {"posing": 1e-9}}}))
    code, said = fmgs("bench", "--suites", "render", "--baseline", baseline, "--peer", tmp_path / "none.cpp", *TINY)
    assert code == 0, said
    assert "no comparison of speeds is possible without the peer" in said and "none.cpp not found" in said
    assert "render: posing" in said and "no regression in 0 rows compared" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--baseline", "none.json"), 1, "baseline: expected an existing file"),
        (("--suites", "speed"), 2, "speed"),
        (("--repeats", 0), 2, "BenchmarkConfig.repeats: expected at least 1, got 0"),
        (("--peer", "none.cpp", "--update-baseline"), 1, "none.cpp not found"),
        (("--growth", "--suites", "step"), 1, "--growth: expected none of --suites"),
        (("--growth", "--growth-picture", "curves.txt"), 1, "picture: expected a name that ends in .svg, .pdf, .png"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(fmgs: Fmgs, arguments: tuple, code: int, message: str):
    got, said = fmgs("bench", *arguments)
    assert got == code and message in said and "Traceback" not in said


def test_growth_is_printed_and_drawn(fmgs: Fmgs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def one(*_: object) -> list[Growth]:
        return [Growth("splats", "time [ms]", [10, 2000], {"cpu backend": [1.25, 40.0]})]

    monkeypatch.setattr(benchmark, "growth", one)
    picture = tmp_path / "new" / "curves.svg"
    code, said = fmgs("bench", "--growth", "--growth-picture", picture, "--peer", tmp_path / "none.cpp")
    assert code == 0, said
    assert "time [ms]" in said and "2,000" in said and "40.0" in said
    assert picture.read_text().rstrip().endswith("</svg>")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(fmgs: Fmgs):
    code, said = fmgs("bench", "--device", "cuda")
    assert code == 1 and "expected a GPU that torch can use for 'cuda', got none" in said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_suite_that_the_gpu_does_not_run_is_refused(fmgs: Fmgs):
    code, said = fmgs("bench", "--device", "cuda", "--suites", "memory")
    assert code == 1 and "expected some of step, render for device cuda, got memory" in said
