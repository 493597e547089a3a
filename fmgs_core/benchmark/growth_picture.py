"""Growth as log-log curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from fmgs_core.atomic import replacing
from fmgs_core.benchmark.growth import Growth

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 0.4,
    "grid.alpha": 0.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "fmgs",
}
SUFFIXES = (".svg", ".pdf", ".png")


def write_growth_picture(path: Path, tables: Sequence[Growth]) -> None:
    """One panel a table, two in a row; the suffix says how: .svg, .pdf or .png."""
    check_picture_path(path)
    rows = -(-len(tables) // 2)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.0, 2.9 * rows), layout="constrained", facecolor="white")
        for i, table in enumerate(tables):
            _panel(figure.add_subplot(rows, 2, i + 1, xlabel=table.x_label, ylabel=table.y_label), table)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            figure.savefig(part, dpi=160)


def check_picture_path(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"picture: expected a name that ends in {', '.join(SUFFIXES)}, got {path.name!r}")


def _panel(axes: Axes, table: Growth) -> None:
    for (name, y), marker in zip(table.ys.items(), "os^v", strict=False):
        axes.loglog(table.x, y, marker=marker, ms=3.5, lw=1.2, label=name)
    values = np.log10([value for y in table.ys.values() for value in y if value > 0] or [1.0])
    axes.set_ylim(10 ** np.floor(values.min()), 10 ** np.ceil(values.max() + 1e-9))  # whole decades: slopes can be compared
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_minor_locator(NullLocator())
    axes.legend()
