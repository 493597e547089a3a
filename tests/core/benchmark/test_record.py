"""The file of a run. Kind: round trip."""

import json
from pathlib import Path

import pytest

from fmgs_core.benchmark.measurement import Better, Measurement
from fmgs_core.benchmark.record import Machine, Record, read_record, write_record

ROWS = [
    Measurement("step", "plain step", 31.5, "ms", Better.LOWER, 0.2, 5.25),
    Measurement("memory", "growth", -0.5, "MB", Better.LOWER, None, None),
    Measurement("latency", "training", 20.0, "1/s", Better.HIGHER, 0.3, 0.125),
]


def test_the_file_gives_back_what_was_written(tmp_path: Path):
    record = Record.of(ROWS)
    write_record(tmp_path / "new" / "record.json", record)
    assert read_record(tmp_path / "new" / "record.json") == record


def test_it_says_when_where_and_with_what(tmp_path: Path):
    write_record(tmp_path / "record.json", Record.of(ROWS))
    content = json.loads((tmp_path / "record.json").read_text())
    assert content["date"].endswith("+00:00")
    assert content["machine"]["cpu"] and content["machine"]["cores"] >= 1
    assert {"python", "torch", "numba", "numpy"} <= set(Machine.here().versions)
    assert content["measurements"][0]["better"] == "lower"


def test_another_format_is_refused(tmp_path: Path):
    path = tmp_path / "record.json"
    path.write_text('{"format": "fmgs-benchmark/9"}')
    with pytest.raises(ValueError, match="expected format fmgs-benchmark/1, got 'fmgs-benchmark/9'"):
        read_record(path)
