"""`fmgs eval --ablation`: what each loss, the routing and the tie to the surface are worth, one fit each."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fmgs_core.config import PRESETS, Pace, SessionConfig
from fmgs_core.evaluation.evaluate import EvaluationConfig, evaluate
from fmgs_core.session.events import Event, Finished, Preparing, SourceOpened
from fmgs_core.stream.sequence import Sequence
from fmgs_core.training.weights import LossWeights

_PAPER = PRESETS["paper"].trainer.weights
STEPS_PER_FRAME = 2
"""While the frames come in; the rest of the iterations follows the last frame."""
NEVER_S = 1e9
ADDED = (
    ("+ L_d", ("depth_order",)),
    ("+ L_sn", ("self_normal",)),
    ("+ L_n", ("normal", "normal_variation")),
    ("+ L_s", ("label", "label_spread")),
)
"""In the order of the paper's table; each row keeps the losses of those above it. L_d is that over wrongly ordered pairs; the
paper's form has a row of its own that the others do not keep."""
COLUMNS = {
    "psnr_view": ("PSNR view [dB]", ".2f"),
    "ssim_view": ("SSIM view", ".4f"),
    "flip_view": ("FLIP view", ".4f"),
    "psnr_pose": ("PSNR pose [dB]", ".2f"),
    "ssim_pose": ("SSIM pose", ".4f"),
    "flip_pose": ("FLIP pose", ".4f"),
    "normal_deg_view": ("normals [deg]", ".2f"),
    "depth_mm_view": ("depth [mm]", ".2f"),
    "chamfer_mm": ("chamfer [mm]", ".2f"),
    "miou28_view": ("mIoU of 28", ".3f"),
}
"""Figures of the table, with their titles and how they are written."""


@dataclass(frozen=True)
class AblationConfig:
    iterations: int = 500
    """Training steps of each fit."""
    maps: Path | None = None
    """A sequence of the same frames with other train maps (scripts/degrade_maps.py): everything is measured with those too."""

    def __post_init__(self):
        if self.iterations < 1:
            raise ValueError(f"AblationConfig.iterations: expected at least 1, got {self.iterations}")


@dataclass(frozen=True)
class Row:
    name: str
    figures: dict[str, float]
    """All that `fmgs eval` measures."""


@dataclass(frozen=True)
class AblationTable:
    """One kind of maps."""

    maps: str
    rows: tuple[Row, ...]


def variants(config: SessionConfig) -> dict[str, SessionConfig]:
    """The rows in order, by name. All but the last are without the light and without the consistency that is taken on the
    surface, so that each loss is seen alone; a loss that `config` leaves out has the weight of the preset `paper`."""
    full = _completed(config.trainer.weights)
    names = ["depth", "surface", *(name for _, group in ADDED for name in group)]
    rows, weights = {}, replace(full, **dict.fromkeys(names, 0.0))
    bare = replace(config, trainer=replace(config.trainer, rates=replace(config.trainer.rates, light=0.0)))
    rows["colour + mask"] = _weighed(bare, weights)
    rows["colour + mask, free in 3-D"] = _unbound(rows["colour + mask"])
    rows["+ L_d as printed"] = _weighed(bare, replace(weights, depth=_PAPER.depth))
    for name, group in ADDED:
        weights = replace(weights, **{loss: getattr(full, loss) for loss in group})
        rows[name] = everything = _weighed(bare, weights)
    rows["all, routing none"] = replace(everything, trainer=replace(everything.trainer, routing="none"))
    rows["all, free in 3-D"] = _unbound(everything)
    rows["as configured"] = config
    return rows


def _completed(weights: LossWeights) -> LossWeights:
    paper = replace(_PAPER, depth_order=_PAPER.depth)
    return replace(weights, **{n: getattr(weights, n) or getattr(paper, n) for _, group in ADDED for n in group})


def _weighed(config: SessionConfig, weights: LossWeights) -> SessionConfig:
    return replace(config, trainer=replace(config.trainer, weights=weights))


def _unbound(config: SessionConfig) -> SessionConfig:
    """Neither tied to faces nor kept a surface: what is left of the body is where they start and which bones carry them."""
    free = replace(config.trainer.weights, offset_smoothness=0.0, surface=0.0, rotation_decay=0.0)
    return replace(_weighed(config, free), fields=replace(config.fields, geometry="unbound"))


def ablate(
    root: Path,
    config: AblationConfig,
    session_config: SessionConfig,
    on_event: Callable[[Event], None] = lambda event: None,
    on_row: Callable[[str, Row], None] = lambda maps, row: None,
) -> tuple[AblationTable, ...]:
    """Fits and measures every variant on true poses: the same frames, steps and seed for each.

    Args:
        on_row: called with the kind of maps and each row as soon as it is measured.

    Raises:
        ValueError: not an avatar_gt/1 sequence.
    """
    frames, rows = len(Sequence(root).split("train")), variants(session_config)
    sources = {"recorded maps": None} | ({} if config.maps is None else {"degraded maps": config.maps})
    tables = []
    for kind, maps in sources.items():
        measured = []
        for i, (name, variant) in enumerate(rows.items()):
            on_event(Preparing(f"{kind}, {i + 1} of {len(rows)}: {name}"))
            settings = EvaluationConfig("true", "true", pace=Pace.ALL, maps=maps)
            variant = _paced(variant, frames, config.iterations)
            measured.append(Row(name, evaluate(root, settings, variant, _without_ends(on_event)).figures))
            on_row(kind, measured[-1])
        tables.append(AblationTable(kind, tuple(measured)))
    return tuple(tables)


def _paced(config: SessionConfig, frames: int, iterations: int) -> SessionConfig:
    """So many steps in all, without the held-back PSNR and the snapshots in between, which nobody would see and which take a
    fifth of the time."""
    per_frame = min(STEPS_PER_FRAME, iterations // frames)
    silent = replace(config, measure_every_s=NEVER_S, save_every_s=NEVER_S)
    return replace(silent, iterations_per_frame=per_frame, final_iterations=iterations - per_frame * frames)


def _without_ends(on_event: Callable[[Event], None]) -> Callable[[Event], None]:
    """A dozen fits of one sequence need not tell each time that it opens and ends."""
    return lambda event: None if isinstance(event, SourceOpened | Finished | Preparing) else on_event(event)


def table_markdown(tables: tuple[AblationTable, ...]) -> str:
    """One table of GitHub's Markdown for each kind of maps."""
    titles = [title for title, _ in COLUMNS.values()]
    head = [f"| | {' | '.join(titles)} |", "|---" + "|---:" * len(titles) + "|"]
    return "\n".join(line for table in tables for line in (f"### {table.maps.capitalize()}", "", *head, *_lines(table), ""))


def _lines(table: AblationTable) -> list[str]:
    cells = [[format(row.figures[name], form) for name, (_, form) in COLUMNS.items()] for row in table.rows]
    return [f"| {row.name} | {' | '.join(values)} |" for row, values in zip(table.rows, cells, strict=True)]


def tables_json(tables: tuple[AblationTable, ...]) -> str:
    return json.dumps([asdict(table) for table in tables], indent=1) + "\n"


def read_tables(text: str) -> tuple[AblationTable, ...]:
    """What tables_json wrote."""
    return tuple(AblationTable(t["maps"], tuple(Row(**row) for row in t["rows"])) for t in json.loads(text))
