"""`fmgs eval --at`: one online run, measured as it stood after several wall times."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from fmgs_core.avatar.completion import complete
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.default import default_body
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.evaluation.ablation import COLUMNS
from fmgs_core.evaluation.ablation_picture import MORE_IS_BETTER, PANELS
from fmgs_core.evaluation.curves import LINES, STYLE, standalone
from fmgs_core.evaluation.evaluate import EvaluationConfig, fit, measure
from fmgs_core.session.events import Event, Preparing
from fmgs_core.stream.sequence import Sequence as GroundTruth
from fmgs_core.types import BodyState


@dataclass(frozen=True)
class Mark:
    """One moment of the run."""

    elapsed_s: float
    """When it was put aside: after the training step that was under way at the time asked for."""
    figures: dict[str, float]
    """As of `fmgs eval`, and iterations and frames_seen until then."""


def measure_at(
    root: Path,
    at_s: Sequence[float],
    config: EvaluationConfig,
    session_config: SessionConfig,
    on_event: Callable[[Event], None] = lambda event: None,
) -> tuple[Mark, ...]:
    """Streams the train split once, to the last of the times, and measures what stood at each of them.

    Nothing in a fit looks at its budget before that is spent, neither rates nor schedule, so that a mark at 20 s is what a run
    with a budget of 20 s leaves, but for the milliseconds of copying at the marks before. A time at which nothing had been
    learned yet gives no mark.

    Raises:
        ValueError: no times, times that are not positive, or a pace other than live.
    """
    if not at_s or not all(t > 0 for t in at_s):
        raise ValueError(f"at_s: expected one or more positive times, got {list(at_s)}")
    if config.pace is not Pace.LIVE:
        raise ValueError(f"EvaluationConfig.pace: expected {Pace.LIVE} with times to measure at, got {config.pace}")
    sequence, body = GroundTruth(root), default_body()
    *before, last_s = sorted(set(at_s))
    result = fit(sequence, body, replace(config, budget_s=last_s), session_config, on_event, tuple(before))
    moments = [(c.elapsed_s, c.snapshot, c.states) for c in result.checkpoints]
    marks = []
    for elapsed_s, snapshot, states in [*moments, (result.fit_wall_s, result.snapshot, result.states)]:
        on_event(Preparing(f"measuring what stood at {elapsed_s:.1f} s"))
        marks.append(Mark(round(elapsed_s, 3), _figures(sequence, snapshot, states, config)))
    return tuple(marks)


def _figures(
    sequence: GroundTruth, snapshot: AvatarSnapshot, states: dict[int, BodyState], config: EvaluationConfig
) -> dict[str, float]:
    body = default_body()
    avatar = snapshot.avatar(body)
    complete(avatar)
    figures, _ = measure(sequence, body, avatar, states, config)
    figures |= {"iterations": snapshot.iterations, "frames_seen": snapshot.frames_seen}
    return {name: round(float(value), 5) for name, value in figures.items()}


def marks_json(marks: tuple[Mark, ...]) -> str:
    return json.dumps([{"elapsed_s": mark.elapsed_s} | mark.figures for mark in marks], indent=1) + "\n"


def marks_markdown(marks: tuple[Mark, ...]) -> str:
    """A table of GitHub's Markdown: a row for each mark."""
    columns = COLUMNS | ({"mpjpe_mm": ("MPJPE [mm]", ".1f")} if "mpjpe_mm" in marks[0].figures else {})
    titles = ["time [s]", "iterations", *(title for title, _ in columns.values())]
    lines = [f"| {' | '.join(titles)} |", "|" + "---:|" * len(titles)]
    for mark in marks:
        cells = [f"{mark.elapsed_s:.1f}", f"{mark.figures['iterations']:.0f}"]
        cells += [format(mark.figures[name], form) for name, (_, form) in columns.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def marks_svg(marks: tuple[Mark, ...]) -> str:
    """A whole SVG file: a panel for each figure over wall time. Axes do not start at zero."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.2), layout="constrained")
        for axes, name in zip(figure.subplots(2, len(PANELS) // 2).flat, PANELS, strict=True):
            better = "more is better" if name in MORE_IS_BETTER else "less is better"
            axes.set_title(f"{COLUMNS[name][0]}, {better}", fontsize=9)
            axes.tick_params(length=0)
            axes.set_xlabel("time [s]")
            axes.plot([m.elapsed_s for m in marks], [m.figures[name] for m in marks], marker="o", ms=4, color=LINES[0])
        return standalone(figure)
