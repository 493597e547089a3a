"""Curves, drawn as SVG that takes its colours from the page around it, or that follows the reader's light or dark by itself."""

import re
from dataclasses import dataclass
from io import StringIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from fmgs_core.evaluation.page_style import THEMES

NUM_COLOURS = 6
"""Line colours --line-0 to --line-5 of the page's style; a seventh line starts over, dashed."""
FOREGROUND, RULE = "#010101", "#020202"
LINES = tuple(f"#0302{i:02x}" for i in range(NUM_COLOURS))
_CSS = {FOREGROUND: "currentColor", RULE: "var(--rule)"} | {line: f"var(--line-{i})" for i, line in enumerate(LINES)}
"""matplotlib knows no CSS variables, so it draws in colours that nobody would choose, and they are replaced afterwards."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fmgs",
    "font.size": 9,
    "text.color": FOREGROUND,
    "axes.labelcolor": FOREGROUND,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": FOREGROUND,
    "ytick.labelcolor": FOREGROUND,
    "lines.linewidth": 1.2,
}
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_ALONE = "svg { background: var(--paper); color: var(--ink); font-family: sans-serif; stroke-linejoin: round; }"
_LOG_RANGE = 50.0
"""Positive values that span more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """One or more series over a common axis.

    Raises:
        ValueError: no series, or a series that is not as long as x.
    """

    x: list[float]
    ys: dict[str, list[float]]
    """Series by name; NaN is a gap."""
    x_label: str
    """With its unit in brackets, e.g. "time [s]"."""
    y_label: str

    def __post_init__(self):
        if not self.ys:
            raise ValueError(f"Curve.ys: expected at least one series over {self.x_label!r}, got none")
        for name, y in self.ys.items():
            if len(y) != len(self.x):
                raise ValueError(f"Curve.ys[{name!r}]: expected {len(self.x)} values, one for each x, got {len(y)}")


def curve_svg(curve: Curve) -> str:
    """Inline `<svg>` without title or legend (the page sets them), 4.6 x 2.3 inches, scalable, loads nothing."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.3), layout="constrained")
        axes = figure.add_subplot(xlabel=curve.x_label, ylabel=curve.y_label)
        axes.tick_params(length=0)
        if _spans_decades(curve):
            axes.set_yscale("log")
            axes.minorticks_off()
        for i, y in enumerate(curve.ys.values()):
            axes.plot(curve.x, y, color=LINES[i % NUM_COLOURS], ls=line_style(i), marker="o" if _lonely(y) else None, ms=3)
    return inline(figure)


def line_style(index: int) -> str:
    return "-" if index < NUM_COLOURS else "--"


def _spans_decades(curve: Curve) -> bool:
    values = np.concatenate([np.asarray(y, dtype=np.float64) for y in curve.ys.values()])
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(0 < values.min() < values.max() / _LOG_RANGE)


def _lonely(y: list[float]) -> bool:
    """A single value makes no line and would not be seen."""
    return int(np.isfinite(y).sum()) == 1


def inline(figure: Figure) -> str:
    """The bare element: no XML head, no metadata, no style that would leak into the page, the page's type and colours.
    The figure is drawn in STYLE, FOREGROUND, RULE and LINES."""
    text = StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*(; )?", "", svg)
    tag, rest = svg.split(">", 1)
    svg = re.sub(r' (xmlns(:\w+)?|width|height|version)="[^"]*"', "", tag) + ">" + rest
    for drawn, css in _CSS.items():
        svg = svg.replace(drawn, css)
    return svg.strip()


def standalone(figure: Figure) -> str:
    """A whole SVG file: colours for light and for dark surroundings, the reader's own type, nothing loaded."""
    width, height = figure.get_size_inches()
    svg = inline(figure).replace("<svg", f'<svg xmlns="{_SVG}" xmlns:xlink="{_XLINK}" width="{width}in" height="{height}in"', 1)
    head, rest = svg.split(">", 1)
    return f"{head}><style>{THEMES}{_ALONE}</style>{rest}\n"
