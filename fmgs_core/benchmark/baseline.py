"""What was measured before, and whether anything has become worse."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fmgs_core.atomic import replacing
from fmgs_core.benchmark.measurement import Better, Measurement

FORMAT = "fmgs-baseline/1"
Figures = dict[str, dict[str, float]]
"""Measurement.figure by suite and name."""


class Verdict(Enum):
    SAME = "same"
    WORSE = "worse"
    """By more than the tolerance: a regression."""
    IMPROVED = "better"
    """By more than the tolerance: the baseline is due for an update."""
    NEW = "new"
    """Not in the baseline."""
    MISSING = "missing"
    """In the baseline, but its suite no longer measures it: nobody guards it any more."""
    NO_PEER = "no peer"
    """A speed, and nothing to take its ratio to."""
    SHOWN = ""
    """Never compared."""

    @property
    def fails(self) -> bool:
        return self in (Verdict.WORSE, Verdict.MISSING)


@dataclass(frozen=True)
class Comparison:
    """One row beside the baseline."""

    suite: str
    name: str
    measurement: Measurement | None
    """None: missing."""
    baseline: float | None
    verdict: Verdict
    change: float | None = None
    """How much worse than the baseline, relative; below zero is better. None where nothing was compared."""


def compare(measurements: Iterable[Measurement], baseline: Figures) -> list[Comparison]:
    """Every measurement, then what the baseline has of the same suites and nobody measured."""
    rows = [_compared(m, baseline.get(m.suite, {}).get(m.name)) for m in measurements]
    seen = {(row.suite, row.name) for row in rows}
    for suite in dict.fromkeys(row.suite for row in rows):
        for name, figure in baseline.get(suite, {}).items():
            if (suite, name) not in seen:
                rows.append(Comparison(suite, name, None, figure, Verdict.MISSING))
    return rows


def _compared(measurement: Measurement, baseline: float | None) -> Comparison:
    def row(verdict: Verdict, change: float | None = None) -> Comparison:
        return Comparison(measurement.suite, measurement.name, measurement, baseline, verdict, change)

    if measurement.tolerance is None:
        return row(Verdict.SHOWN)
    if measurement.figure is None:
        return row(Verdict.NO_PEER)
    if baseline is None:
        return row(Verdict.NEW)
    change = _worse_by(measurement.figure, baseline, measurement.better)
    if change > measurement.tolerance:
        return row(Verdict.WORSE, change)
    improved = _worse_by(baseline, measurement.figure, measurement.better) > measurement.tolerance
    return row(Verdict.IMPROVED if improved else Verdict.SAME, change)


def _worse_by(figure: float, than: float, better: Better) -> float:
    """0.5: takes half as long again, or gives two thirds."""
    larger, smaller = (figure, than) if better is Better.LOWER else (than, figure)
    return larger / smaller - 1 if smaller > 0 else math.inf


def updated(baseline: Figures, measurements: Iterable[Measurement]) -> Figures:
    """The baseline with the suites of the measurements replaced and all others kept.

    Raises:
        ValueError: a speed was measured without the peer.
    """
    fresh: Figures = {}
    for m in measurements:
        if m.tolerance is None:
            continue
        if m.figure is None:
            raise ValueError(f"baseline: expected ratios to the peer, got {m.suite} '{m.name}' measured without one")
        fresh.setdefault(m.suite, {})[m.name] = float(f"{m.figure:.4g}")
    return dict(sorted((baseline | fresh).items()))


def read_baseline(path: Path) -> Figures:
    """What write_baseline wrote.

    Raises:
        ValueError: no such file, another format, or a figure that is not above zero.
    """
    if not path.is_file():
        raise ValueError(f"baseline: expected an existing file (run in the project's folder, or give --baseline), got {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        return {suite: {name: _positive(figure) for name, figure in rows.items()} for suite, rows in content["figures"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"baseline {path}: expected format {FORMAT} with figures above zero, got {error}") from error


def write_baseline(path: Path, figures: Figures) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps({"format": FORMAT, "figures": figures}, indent=1) + "\n", encoding="utf-8")


def _positive(figure: float) -> float:
    if isinstance(figure, bool) or not isinstance(figure, int | float) or not 0 < figure < math.inf:
        raise ValueError(f"the figure {figure!r}")
    return float(figure)
