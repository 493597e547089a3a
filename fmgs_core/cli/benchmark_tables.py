"""Tables and sentences of `fmgs bench`."""

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fmgs_core.benchmark.baseline import Comparison, Verdict
from fmgs_core.benchmark.growth import Growth
from fmgs_core.benchmark.measurement import SPEED_UNITS
from fmgs_core.benchmark.record import Machine

_STYLE = {Verdict.WORSE: "bold red", Verdict.MISSING: "bold red", Verdict.IMPROVED: "green", Verdict.NO_PEER: "yellow"}


def print_machine(machine: Machine, what: str) -> None:
    gpu = "" if machine.gpu is None else f", {machine.gpu}"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    _console().print(f"{machine.cpu}, {machine.cores} cores{gpu}; {versions}; {what}", highlight=False)


def print_suite(rows: Iterable[Comparison]) -> None:
    """One table; `x peer` is the value over the C++ job of the same run, which is what the baseline keeps of speeds."""
    table = Table(box=None, pad_edge=False)
    for header in ("", "value", "unit", "per second", "x peer", "baseline", "change", ""):
        table.add_column(header, justify="right" if header not in ("", "unit") else "left", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row), style=_STYLE.get(row.verdict))
    _console().print(table)


def print_growth(growth: Growth) -> None:
    table = Table(escape(growth.x_label), title=escape(growth.y_label), title_justify="left", box=None, pad_edge=False)
    for name in growth.ys:
        table.add_column(name, justify="right")
    for x, *ys in zip(growth.x, *growth.ys.values(), strict=True):
        table.add_row(f"{x:,}", *(f"{y:.1f}" for y in ys))
    _console().print(table)


def regression_sentence(row: Comparison) -> str:
    """Which row, and by how much."""
    if row.measurement is None or row.measurement.figure is None:
        return f"{row.suite}: {row.name}: in the baseline, but no longer measured"
    unit = " x the peer" if row.measurement.unit in SPEED_UNITS else f" {row.measurement.unit}"
    assert row.baseline is not None and row.change is not None and row.measurement.tolerance is not None
    return (
        f"{row.suite}: {row.name}: {row.measurement.figure:.4g}{unit}, {row.baseline:.4g} in the baseline: "
        f"{row.change:.0%} worse, {row.measurement.tolerance:.0%} allowed"
    )


def _cells(row: Comparison) -> tuple[str, ...]:
    baseline = "" if row.baseline is None else f"{row.baseline:.3g}"
    if row.measurement is None:
        return (escape(f"{row.suite}: {row.name}"), "", "", "", "", baseline, "", row.verdict.value)
    m = row.measurement
    per_second = f"{1e3 / m.value:.1f}" if m.unit == "ms" and m.value > 0 and row.verdict is not Verdict.SHOWN else ""
    ratio = "" if m.ratio is None else f"{m.ratio:.3g}"
    change = "" if row.change is None else f"{row.change:+.0%}"
    return (escape(f"{m.suite}: {m.name}"), f"{m.value:.4g}", m.unit, per_second, ratio, baseline, change, row.verdict.value)


def _console() -> Console:
    """Made anew, for it remembers stdout as it was. A pipe has no width of its own, and a table must not be folded there."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
