"""The report of a run: one HTML file that needs nothing beside it, and the same figures as JSON."""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from fmgs_core.evaluation.curves import Curve
from fmgs_core.evaluation.page import (
    Picture,
    config_section,
    curves_section,
    figures_section,
    page,
    pictures_section,
    timeline_section,
    timings_section,
    warnings_section,
)
from fmgs_core.evaluation.timeline import Timeline


@dataclass(frozen=True)
class RunReport:
    """What there is to say of a run.

    Raises:
        ValueError: a figure that is neither a number nor a text, or a picture group without pictures.
    """

    title: str
    source: str
    """What was replayed or watched, and when, in words."""
    figures: dict[str, float | int | str]
    """By name, unit last ("novel_view_psnr_db"); the first six are the headline."""
    timeline: Timeline | None = None
    """When each part switched on."""
    curves: dict[str, Curve] = field(default_factory=dict)
    """By title: loss by term, PSNR of held-back frames, tracking confidence, iterations per second."""
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    """Groups by heading, in the order of the page: input beside reconstruction, turntable, masks."""
    timings_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds per frame by stage."""
    config: dict = field(default_factory=dict)
    """May be nested; shown flat with dots."""
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self):
        for name, value in self.figures.items():
            if isinstance(value, bool) or not isinstance(value, float | int | str):
                raise ValueError(
                    f"RunReport.figures[{name!r}]: expected float, int or str, got {type(value).__name__} {value!r}"
                )
        for name, group in self.pictures.items():
            if not group:
                raise ValueError(f"RunReport.pictures[{name!r}]: expected at least one picture, got none")


def write_report(path: Path, report: RunReport) -> None:
    """Writes the page to `path` (.html) and its figures to the same name with .json; each appears whole or not at all."""
    if path.suffix != ".html":
        raise ValueError(f"path: expected a name that ends in .html, got {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_whole(path, report_html(report))
    _write_whole(path.with_suffix(".json"), json.dumps(_json_figures(report.figures), indent=1, allow_nan=False) + "\n")


def read_figures(path: Path) -> dict[str, float | int | str]:
    """The figures of a report's .json; "nan" and "inf" stay texts, since no comparison with them can pass."""
    return json.loads(path.read_text(encoding="utf-8"))


def report_html(report: RunReport) -> str:
    warnings = report.warnings + [f"{name} is {value}" for name, value in report.figures.items() if not _finite(value)]
    sections = [
        figures_section(report.figures),
        warnings_section(warnings),
        *(pictures_section(name, group) for name, group in report.pictures.items()),
        timeline_section(report.timeline),
        curves_section(report.curves),
        timings_section(report.timings_ms),
        config_section(report.config),
    ]
    return page(report.title, report.source, sections)


def _finite(value: float | int | str) -> bool:
    return isinstance(value, str) or math.isfinite(value)


def _json_figures(figures: dict[str, float | int | str]) -> dict[str, float | int | str]:
    """JSON has no NaN: a figure that is not finite is written as text, so that the report of a failed run still exists."""
    return {name: value if _finite(value) else str(value) for name, value in figures.items()}


def _write_whole(path: Path, text: str) -> None:
    """A reader, or a power cut, never meets half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
