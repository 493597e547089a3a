"""An ablation as one picture: a panel for each figure, a row for each variant, a mark for each kind of maps."""

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fmgs_core.evaluation.ablation import COLUMNS, AblationTable
from fmgs_core.evaluation.curves import FOREGROUND, LINES, STYLE, standalone

PANELS = ("psnr_view", "psnr_pose", "normal_deg_view", "depth_mm_view", "chamfer_mm", "miou28_view")
MORE_IS_BETTER = frozenset({"psnr_view", "psnr_pose", "miou28_view"})
LEAST_SPAN = 0.02
"""Of an axis, as a share of its values: noise is not blown up to the width of a panel."""
_MARKS = ("o", "D")
_ROW_IN = 0.24


def ablation_svg(tables: tuple[AblationTable, ...]) -> str:
    """A whole SVG file. Axes do not start at zero: marks are compared, not lengths."""
    names = [row.name for row in tables[0].rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 1.1 + _ROW_IN * len(names)), layout="constrained")
        panels = figure.subplots(1, len(PANELS), sharey=True)
        for axes, name in zip(panels, PANELS, strict=True):
            _draw_panel(axes, name, tables, names)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        handles = [_mark(i, table.maps) for i, table in enumerate(tables)]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(tables), frameon=False)
        return standalone(figure)


def _draw_panel(axes: Axes, name: str, tables: tuple[AblationTable, ...], rows: list[str]) -> None:
    better = "more is better" if name in MORE_IS_BETTER else "less is better"
    axes.set_title(f"{COLUMNS[name][0]}\n{better}", fontsize=9, color=FOREGROUND)
    axes.tick_params(length=0)
    axes.margins(x=0.12, y=0.06)
    for i, table in enumerate(tables):
        values, heights = zip(*((row.figures[name], rows.index(row.name)) for row in table.rows), strict=True)
        axes.plot(values, heights, ls="", marker=_MARKS[i], ms=5 - i, color=LINES[i])
    low, high = axes.get_xlim()
    room = max(0.0, LEAST_SPAN * high - (high - low)) / 2
    axes.set_xlim(low - room, high + room)
    axes.locator_params(axis="x", nbins=3)


def _mark(index: int, label: str) -> Line2D:
    return Line2D([], [], ls="", marker=_MARKS[index], ms=5 - index, color=LINES[index], label=label)
