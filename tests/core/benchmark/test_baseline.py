"""Regression, improvement, new and missing rows, no peer. Kind: exact cases; and a round trip through the file."""

import json
from pathlib import Path

import pytest

from fmgs_core.benchmark.baseline import Verdict, compare, read_baseline, updated, write_baseline
from fmgs_core.benchmark.measurement import Better, Measurement


def row(
    ratio: float | None, *, name: str = "n", suite: str = "s", better: Better = Better.LOWER, tolerance: float | None = 0.25
):
    return Measurement(suite, name, 7.0, "ms", better, tolerance, ratio)


# Sums and quotients of powers of two, so that the limits themselves are exact.
@pytest.mark.parametrize(
    ("better", "ratio", "verdict", "change"),
    [
        (Better.LOWER, 4.0, Verdict.SAME, 0.0),
        (Better.LOWER, 5.0, Verdict.SAME, 0.25),
        (Better.LOWER, 5.5, Verdict.WORSE, 0.375),
        (Better.LOWER, 3.2, Verdict.SAME, -0.2),
        (Better.LOWER, 2.0, Verdict.IMPROVED, -0.5),
        (Better.HIGHER, 4.0, Verdict.SAME, 0.0),
        (Better.HIGHER, 3.2, Verdict.SAME, 0.25),
        (Better.HIGHER, 2.0, Verdict.WORSE, 1.0),
        (Better.HIGHER, 8.0, Verdict.IMPROVED, -0.5),
        (Better.HIGHER, 0.0, Verdict.WORSE, float("inf")),
    ],
)
def test_a_change_beyond_the_tolerance_is_told(better: Better, ratio: float, verdict: Verdict, change: float):
    (comparison,) = compare([row(ratio, better=better)], {"s": {"n": 4.0}})
    assert comparison.verdict is verdict
    assert comparison.change == pytest.approx(change, abs=1e-12)
    assert comparison.verdict.fails is (verdict is Verdict.WORSE)


def test_a_new_row_is_told_and_fails_nothing():
    (comparison,) = compare([row(1.0)], {})
    assert comparison.verdict is Verdict.NEW and not comparison.verdict.fails and comparison.change is None


def test_a_row_that_nobody_measures_any_more_fails_but_another_suites_does_not():
    rows = compare([row(1.0, name="a")], {"s": {"a": 1.0, "gone": 2.0}, "other": {"b": 3.0}})
    assert [(r.suite, r.name, r.verdict) for r in rows] == [("s", "a", Verdict.SAME), ("s", "gone", Verdict.MISSING)]
    assert rows[1].verdict.fails and rows[1].measurement is None and rows[1].baseline == 2.0


def test_a_speed_without_a_peer_is_not_compared_and_fails_nothing():
    (comparison,) = compare([row(None)], {"s": {"n": 1e-9}})
    assert comparison.verdict is Verdict.NO_PEER and not comparison.verdict.fails


def test_a_size_is_compared_without_a_peer():
    size = Measurement("s", "n", 130.0, "MB", Better.LOWER, 0.25, None)
    assert compare([size], {"s": {"n": 100.0}})[0].verdict is Verdict.WORSE


def test_what_has_no_tolerance_is_shown_only():
    assert compare([row(1.0, tolerance=None)], {"s": {"n": 1e-9}})[0].verdict is Verdict.SHOWN


def test_an_update_replaces_the_suites_that_were_measured():
    old = {"s": {"n": 1.0, "gone": 2.0}, "other": {"b": 3.0}}
    new = updated(old, [row(4.00004), row(5.0, name="shown", tolerance=None), row(6.0, suite="new")])
    assert new == {"new": {"n": 6.0}, "other": {"b": 3.0}, "s": {"n": 4.0}}
    assert old["s"] == {"n": 1.0, "gone": 2.0}


def test_an_update_without_the_peer_is_refused():
    with pytest.raises(ValueError, match="expected ratios to the peer, got s 'n'"):
        updated({}, [row(None)])


def test_the_file_gives_back_what_was_written(tmp_path: Path):
    figures = {"s": {"plain step, poses fixed": 5.125}, "t": {}}
    write_baseline(tmp_path / "new" / "baseline.json", figures)
    assert read_baseline(tmp_path / "new" / "baseline.json") == figures


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"format": "fmgs-baseline/2", "figures": {}}),
        json.dumps({"format": "fmgs-baseline/1", "figures": {"s": {"n": 0}}}),
        json.dumps({"format": "fmgs-baseline/1", "figures": {"s": {"n": True}}}),
        json.dumps({"format": "fmgs-baseline/1", "figures": {"s": {"n": "1"}}}),
        json.dumps({"format": "fmgs-baseline/1", "figures": {"s": 1}}),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, content: str):
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"baseline .*baseline\.json: expected format fmgs-baseline/1"):
        read_baseline(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"baseline: expected an existing file .*none\.json"):
        read_baseline(tmp_path / "none.json")


def test_the_committed_baseline_can_be_read():
    read_baseline(Path(__file__).parents[3] / "benchmarks" / "baseline.json")
