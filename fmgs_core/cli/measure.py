"""`fmgs eval`: figures on ground truth."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from rich.console import Console

from fmgs_core.cli.display import Display
from fmgs_core.config import OFFLINE_PRESETS, Pace, SessionConfig
from fmgs_core.evaluation.ablation import COLUMNS, AblationConfig, ablate, table_markdown, tables_json
from fmgs_core.evaluation.ablation import Row as AblationRow
from fmgs_core.evaluation.ablation_picture import ablation_svg
from fmgs_core.evaluation.disturbances import DisturbanceConfig
from fmgs_core.evaluation.evaluate import EvaluationConfig, evaluate
from fmgs_core.evaluation.marks import marks_json, marks_markdown, marks_svg, measure_at
from fmgs_core.evaluation.tables import MeasuredTable, Row, measure_table


@dataclass(frozen=True)
class Eval:
    """Stream the train split of an avatar_gt/1 sequence online, then measure novel views and novel poses; with --ablation, fit
    it once for each loss; or, with --table, fit and measure the people of a published dataset."""

    sequence: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder with meta.json, canonical.ply, train, test_view and test_pose; not with --table."""
    table: Literal["zju", "people-snapshot", "neuman"] | None = None
    """A table of the paper, on data that you have: needs --data and --body, and starts from --preset paper."""
    data: Path | None = None
    """With --table: the dataset's folder, in which the subjects' folders lie as they are published."""
    body: Path | None = None
    """With --table: your SMPL model file (pkl or npz), or a folder with SMPL_NEUTRAL, SMPL_MALE and SMPL_FEMALE."""
    subjects: tuple[str, ...] = ()
    """With --table: some of its subjects; all when none is named."""
    preset: Literal["cpu", "gpu", "paper"] = "cpu"
    """Where --config starts from. paper: the published offline schedule; --budget-s has no effect then."""
    poses: Literal["true", "tracked"] = "tracked"
    """Body states: the sequence's own, or the tracker's."""
    priors: Literal["auto", "true"] = "auto"
    """Maps: MediaPipe's mask and the template, or the sequence's own mask, depth, normals and labels."""
    maps: Path | None = None
    """With --priors true: a sequence of the same frames whose train maps are taken instead, for example degraded ones. With
    --ablation: everything is measured with these too."""
    ablation: bool = False
    """Fit with more and more of the losses, without routing and without the surface: each on true poses and recorded maps, in
    a fixed number of steps."""
    iterations: int = 500
    """With --ablation: training steps of each fit."""
    at: tuple[float, ...] = ()
    """Wall seconds of one run at which to measure, in place of --budget-s: --at 20 60 180."""
    out: Path | None = None
    """With --ablation and --at: folder for the table (.md and .json) and a picture (.svg), named ablation_figures or marks."""
    budget_s: float = 60.0
    """Wall seconds of streaming and training."""
    height: Literal["known", "unknown"] = "known"
    """Whether the tracker is told the true body height."""
    disturb: Literal["none", "exposure", "blur", "occlusion", "masked-occlusion", "half-turn", "masks"] = "none"
    """What is done to the train stream on purpose; see docs/robustness.md."""
    disturb_seed: int = 0
    json: Path | None = None
    """File for the figures, JSON."""
    pictures: Path | None = None
    """Folder for pictures of truth beside rendering."""
    config: SessionConfig = field(default_factory=SessionConfig)

    def run(self) -> int:
        if self.table is not None:
            return self._measure_table(self.table)
        if self.at:
            return self._measure_at()
        return self._ablate() if self.ablation else self._measure_sequence()

    def _measure_sequence(self) -> int:
        if self.sequence is None:
            raise ValueError("eval: expected a sequence folder, or --table with --data and --body, got neither")
        pace = Pace.ALL if self.preset in OFFLINE_PRESETS else Pace.LIVE
        disturbance = DisturbanceConfig(self.disturb, self.disturb_seed)
        settings = EvaluationConfig(self.poses, self.priors, self.budget_s, self.height, pace, self.maps, disturbance)
        with Display(Console(stderr=True)) as display:
            evaluation = evaluate(self.sequence, settings, self.config, display)
        for name, value in evaluation.figures.items():
            print(f"{name:20} {value:.4f}")
        self._write_json(evaluation.figures)
        if self.pictures is not None:
            self.pictures.mkdir(parents=True, exist_ok=True)
            for key, pictures in evaluation.comparisons.items():
                sheet = cv2.cvtColor(np.concatenate(pictures, 0), cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(self.pictures / f"{key}.png"), sheet)
        return 0

    def _ablate(self) -> int:
        if self.sequence is None or self.out is None:
            raise ValueError("eval --ablation: expected a sequence folder and --out DIR")
        with Display(Console(stderr=True)) as display:
            tables = ablate(self.sequence, AblationConfig(self.iterations, self.maps), self.config, display, _print_row)
        self._write_out("ablation_figures", tables_json(tables), table_markdown(tables), ablation_svg(tables))
        return 0

    def _measure_at(self) -> int:
        if self.sequence is None or self.preset in OFFLINE_PRESETS:
            raise ValueError(f"eval --at: expected a sequence folder and a preset that fits online, got {self.preset!r}")
        settings = EvaluationConfig(self.poses, self.priors, self.budget_s, self.height, maps=self.maps)
        with Display(Console(stderr=True)) as display:
            marks = measure_at(self.sequence, self.at, settings, self.config, display)
        print(table := marks_markdown(marks), end="")
        self._write_out("marks", marks_json(marks), table, marks_svg(marks))
        return 0

    def _write_out(self, name: str, figures: str, table: str, picture: str) -> None:
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
            for suffix, text in (("json", figures), ("md", table), ("svg", picture)):
                (self.out / f"{name}.{suffix}").write_text(text)

    def _measure_table(self, name: str) -> int:
        if self.sequence is not None or self.data is None or self.body is None:
            raise ValueError("eval --table: expected --data DIR and --body SMPL, and no sequence folder")
        with Display(Console(stderr=True)) as display:
            measured = measure_table(name, self.data, self.body, self.config, subjects=self.subjects, on_event=display)
        print(table_text(measured))
        self._write_json(measured.as_dict())
        return 0

    def _write_json(self, content: dict) -> None:
        if self.json is not None:
            self.json.parent.mkdir(parents=True, exist_ok=True)
            self.json.write_text(json.dumps(content, indent=1) + "\n")


def _print_row(maps: str, row: AblationRow) -> None:
    cells = (f"{title} {row.figures[name]:{form}}" for name, (title, form) in COLUMNS.items())
    print(f"{maps}: {row.name:28}{', '.join(cells)}", flush=True)


def table_text(measured: MeasuredTable) -> str:
    """Subjects, then their mean; ours first in each, what is printed in the paper below it."""
    lines = [measured.table.title, f"{'':24}{'PSNR [dB]':>12}{'SSIM':>9}{'peer SSIM':>11}{'LPIPS*':>9}{'fit [s]':>9}"]
    for row in (*measured.rows, Row("mean", measured.mean())):
        lines += [row.subject, _line("ours", row.figures)]
        for method, printed in measured.table.published.items():
            lines += [_line(method, printed[row.subject])] if row.subject in printed else []
    return "\n".join([*lines, *(f"* {note}" for note in measured.notes)])


def _line(method: str, figures: dict[str, float]) -> str:
    """Of a printed SSIM the definition is the peers'."""
    shown = figures if "peer_ssim" in figures else figures | {"peer_ssim": figures.get("ssim"), "ssim": None}
    columns = (("psnr", 12, ".2f"), ("ssim", 9, ".4f"), ("peer_ssim", 11, ".4f"), ("lpips", 9, ".2f"), ("fit_wall_s", 9, ".0f"))
    cells = [f"{'-' if shown.get(name) is None else format(shown[name], form):>{width}}" for name, width, form in columns]
    return f"  {method:22}" + "".join(cells)
