"""Tables of `fmgs models`."""

import math
from dataclasses import asdict
from typing import Any

from rich.table import Column, Table

from fmgs_core.priors.engines.export import read_export
from fmgs_core.priors.engines.parity import TOLERANCES
from fmgs_core.priors.model_check import EngineCheck
from fmgs_core.priors.store import StoredModel


def model_table(models: list[StoredModel]) -> Table:
    file = Column("file", overflow="fold", ratio=1)
    table = Table("name", "task", "size", "outputs", "input", file, "MB", "ONNX", "licence", box=None, pad_edge=False)
    for model in models:
        table.add_row(
            model.name,
            model.task.value,
            model.architecture,
            str(model.channels),
            "{} x {}".format(*reversed(model.input_hw)),
            str(model.path) if model.path.exists() else f"[bold red]gone:[/] {model.path}",
            f"{model.bytes / 1e6:.0f}",
            "yes" if model.onnx else "no",
            f"{model.licence}{'' if model.licence_accepted else ', not accepted'}",
        )
    return table


def check_table(model: StoredModel, checks: list[EngineCheck]) -> Table:
    """What each engine cost, and how far it is from the first."""
    names = [name for name in TOLERANCES[model.task] if not name.endswith("_abs")]  # max and mean say as much
    figures = ("load s", "run ms", "peak MB", "max", "mean", *(n.replace("_", " ") for n in names), "")
    # On a narrow terminal the engine's name takes two lines: half a figure would be none.
    table = Table(Column("engine", overflow="fold"), *(Column(n, no_wrap=True) for n in figures), box=None, pad_edge=False)
    for check in checks:
        parity = check.parity
        measured = (f"{check.load_s:.1f}", f"{check.run_ms:.0f}", f"{check.peak_mb:.0f}")
        figures = ["" if parity is None else _figure(parity.figures.get(name, math.nan)) for name in names]
        largest = ("", "") if parity is None else (f"{parity.max_abs:.1e}", f"{parity.mean_abs_raw:.1e}")
        verdict = "[bold red]no[/]" if check.complaints else "[green]ok[/]"
        table.add_row(str(check.choice), *("-" if "nan" in m else m for m in measured), *largest, *figures, verdict)
    return table


def checks_json(model: StoredModel, checks: list[EngineCheck]) -> dict[str, Any]:
    """The same figures in full; null where there is none."""
    export = read_export(model.onnx_path)
    rows = [
        {
            "engine": str(check.choice),
            "name": check.name,
            **{key: _number(getattr(check, key)) for key in ("load_s", "run_ms", "peak_mb")},
            "parity": check.parity and asdict(check.parity),
            "complaints": check.complaints,
        }
        for check in checks
    ]
    described = {key: getattr(model, key) for key in ("name", "architecture", "bytes", "sha256")}
    return described | {"task": model.task.value, "onnx": export and asdict(export), "engines": rows}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}"
