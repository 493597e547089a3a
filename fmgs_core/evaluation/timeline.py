"""When each part of the method switched on, over the evidence that it waited for: a picture for the report, and as a file."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmgs_core.atomic import replacing
from fmgs_core.evaluation.curves import FOREGROUND, LINES, STYLE, inline, standalone

_YAW, _KEYFRAMES, _MARK = LINES[:3]


@dataclass(frozen=True)
class Mark:
    at_s: float
    what: str
    why: str


@dataclass(frozen=True)
class Timeline:
    """Evidence over wall time.

    Raises:
        ValueError: no time at all, or series of other lengths.
    """

    elapsed_s: list[float]
    yaw_deg: list[float]
    """Of the circle around the person, seen so far."""
    keyframes: list[int]
    marks: list[Mark]

    def __post_init__(self):
        lengths = len(self.elapsed_s), len(self.yaw_deg), len(self.keyframes)
        if not lengths[0] or len(set(lengths)) > 1:
            raise ValueError(f"Timeline: expected as many yaws and keyframes as times, at least one, got {lengths}")


def timeline_svg(timeline: Timeline) -> str:
    """Inline `<svg>` in the colours of the page around it."""
    return inline(_figure(timeline))


def write_timeline(path: Path, timeline: Timeline) -> None:
    """An .svg of its own; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(standalone(_figure(timeline)), encoding="utf-8")


def _figure(timeline: Timeline) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.7 + 0.17 * len(timeline.marks)), layout="constrained")
        axes = figure.add_subplot(xlabel="wall time [s]")
        keyframes = axes.twinx()
        _plot(axes, timeline.elapsed_s, timeline.yaw_deg, "yaw seen [°]", _YAW, highest=360.0)
        _plot(
            keyframes, timeline.elapsed_s, timeline.keyframes, "keyframes", _KEYFRAMES, highest=float(max(timeline.keyframes))
        )
        axes.set_yticks(range(0, 361, 90))
        keyframes.grid(visible=False)
        _mark(axes, timeline.marks)
        lines = [f"{i}  {mark.at_s:.1f} s  {mark.what}: {mark.why}" for i, mark in enumerate(timeline.marks, start=1)]
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=FOREGROUND)
    return figure


def _mark(axes: Axes, marks: list[Mark]) -> None:
    """Numbered lines. Numbers go down in steps: those of the same second would cover each other."""
    for number, mark in enumerate(marks, start=1):
        axes.axvline(mark.at_s, color=_MARK, lw=1.0, ls=(0, (4, 2)))
        down = -9 - 9 * ((number - 1) % 3)
        axes.annotate(str(number), (mark.at_s, 1), xycoords=("data", "axes fraction"), xytext=(2, down),
                      textcoords="offset points", color=_MARK, fontsize=8, fontweight="bold")  # fmt: skip


def _plot(axes: Axes, x: list[float], y: list[float] | list[int], label: str, color: str, *, highest: float) -> None:
    axes.plot(x, y, color=color, marker="o" if len(x) == 1 else None, ms=3)
    axes.set_ylabel(label, color=color)
    axes.set_ylim(0, 1.08 * max(highest, 1))
    axes.tick_params(length=0)
