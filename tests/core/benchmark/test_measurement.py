"""Timing with a clock that only the calls advance, and what a row is compared by. Kind: exact cases."""

import math

import pytest

from fmgs_core.benchmark.measurement import Better, Measurement, interleaved_ms, speed, speeds


class Work:
    """Calls that take as long as is written down, on a clock of their own."""

    def __init__(self):
        self.now_s, self.log = 0.0, []

    def taking(self, name: str, *seconds: float):
        times = iter(seconds)

        def call() -> None:
            self.log.append(name)
            self.now_s += next(times)

        return call


def test_calls_take_turns_and_the_warm_up_does_not_count():
    work = Work()
    calls = {"a": work.taking("a", 100, 1, 3, 2), "b": work.taking("b", 100, 0.5, 0.25, 4)}
    assert interleaved_ms(calls, 3, 1, clock_s=lambda: work.now_s) == {"a": 2000.0, "b": 500.0}
    assert work.log == list("abababab")


@pytest.mark.parametrize(("repeats", "warm_up"), [(0, 0), (1, -1)])
def test_a_timing_without_turns_is_refused(repeats: int, warm_up: int):
    with pytest.raises(ValueError, match="repeats >= 1"):
        interleaved_ms({}, repeats, warm_up)


def test_ratios_are_taken_to_the_peers_job_which_is_no_row_itself():
    work = Work()
    rows = speeds("s", {"a": lambda: None}, work.taking("peer", 0, 0), 1, 1, 0.1)
    assert [(row.name, row.unit, row.better) for row in rows] == [("a", "ms", Better.LOWER)]
    assert work.log == ["peer", "peer"]
    assert rows[0].ratio is not None and rows[0].figure == rows[0].ratio


def test_a_ratio_is_how_many_of_the_peers_jobs_it_takes():
    assert speed("s", "n", 8.0, 2.0, 0.1).ratio == 4.0


def test_without_a_peer_there_is_a_value_and_no_ratio():
    (row,) = speeds("s", {"a": lambda: None}, None, 1, 0, 0.1)
    assert row.value >= 0 and row.ratio is None and row.figure is None


def measurement(**changes) -> Measurement:
    values = {"suite": "s", "name": "n", "value": 8.0, "unit": "ms", "better": Better.LOWER, "tolerance": 0.1, "ratio": 2.0}
    return Measurement(**values | changes)


@pytest.mark.parametrize(
    ("changes", "figure"),
    [
        ({}, 2.0),
        ({"unit": "1/s"}, 2.0),
        ({"ratio": None}, None),
        ({"unit": "MB", "ratio": None}, 8.0),
        ({"unit": "ratio", "ratio": None}, 8.0),
        ({"tolerance": None}, None),
    ],
)
def test_speeds_are_compared_by_ratio_and_sizes_by_value(changes: dict, figure: float | None):
    assert measurement(**changes).figure == figure


@pytest.mark.parametrize("changes", [{"value": math.nan}, {"ratio": math.inf}, {"tolerance": 0.0}, {"tolerance": math.nan}])
def test_what_cannot_be_compared_is_refused(changes: dict):
    with pytest.raises(ValueError, match=f"Measurement.{next(iter(changes))} of 'n'"):
        measurement(**changes)
