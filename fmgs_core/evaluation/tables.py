"""The tables of FMGS-Avatar: which dataset, which people, which figures are printed there, and ours beside them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fmgs_core.body.smpl_files import smpl_file
from fmgs_core.body.smplx import load_smpl
from fmgs_core.body.template import BodyModel
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.evaluation import metrics
from fmgs_core.evaluation.evaluate import KnownPoses
from fmgs_core.evaluation.peer_ssim import peer_ssim
from fmgs_core.rendering.pictures import draw
from fmgs_core.session import Session, SessionResult
from fmgs_core.session.events import Event
from fmgs_core.stream.datasets import DatasetSource, DatasetSplit, DatasetSubject, neuman, people_snapshot, zju_mocap
from fmgs_core.types import Channel, Frame, PriorMaps

COLOR = frozenset({Channel.RGB})
Load = Callable[[Path, str, BodyModel], DatasetSubject]
LPIPS_NOTE = "LPIPS is not measured: every package of it downloads its network's weights, and nothing else may bear its name"


@dataclass(frozen=True)
class Table:
    """One table of the paper."""

    title: str
    load: Load
    gender: Callable[[str], str]
    subjects: tuple[str, ...]
    refines_pose: bool
    """Whether the poses of training frames are learned (and then drawn in test views of the same instants)."""
    published: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """By method, by subject or "mean": figures as printed in arXiv 2509.14739. LPIPS is times 1000."""
    notes: tuple[str, ...] = ()


TABLES = {
    "zju": Table(
        title="ZJU-MoCap, one camera, novel views",
        load=zju_mocap.load_subject,
        gender=zju_mocap.gender,
        subjects=tuple(zju_mocap.FRAMES),
        refines_pose=True,
        published={
            "FMGS-Avatar": {"mean": {"psnr": 30.89, "ssim": 0.972, "lpips": 28.59}, "377": {"psnr": 31.22}},
            "3DGS-Avatar": {"mean": {"psnr": 30.61, "ssim": 0.965, "lpips": 30.28}},
            "GauHuman": {"mean": {"psnr": 30.79, "ssim": 0.960, "lpips": 32.73}},
            "GoMAvatar": {"mean": {"psnr": 30.56, "ssim": 0.967, "lpips": 32.55}},
        },
        notes=(
            "peer_ssim is SSIM as the peers' evaluator takes it (uniform 7 x 7 windows, data range 2); ssim is the usual one",
        ),
    ),
    "people-snapshot": Table(
        title="PeopleSnapshot, novel poses",
        load=people_snapshot.load_subject,
        gender=people_snapshot.gender,
        subjects=tuple(people_snapshot.FRAMES),
        refines_pose=False,  # mikeqzy/3dgs-avatar-release, README.md: pose_correction=none
        published={
            "FMGS-Avatar": {
                "male-3-casual": {"psnr": 30.92},
                "male-4-casual": {"psnr": 33.78},
                "female-3-casual": {"psnr": 33.89},
                "female-4-casual": {"psnr": 30.95},
            }
        },
    ),
    "neuman": Table(
        title="NeuMan, novel views, the person alone over black",
        load=neuman.load_subject,
        gender=neuman.gender,
        subjects=neuman.SUBJECTS,
        refines_pose=False,
        notes=("other methods measure the whole scene, or a crop with the scene behind the person: not comparable",),
    ),
}


@dataclass(frozen=True)
class Row:
    """Figures of one subject."""

    subject: str
    figures: dict[str, float]
    """psnr [dB], ssim and peer_ssim: means over the test shots, whole pictures, person over black. fit_wall_s, iterations."""


@dataclass(frozen=True)
class MeasuredTable:
    table: Table
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def mean(self) -> dict[str, float]:
        """Over subjects, each with the same weight."""
        return {name: float(np.mean([row.figures[name] for row in self.rows])) for name in self.rows[0].figures}

    def as_dict(self) -> dict:
        """For a JSON file. lpips is null: not measured."""
        ours = {row.subject: row.figures | {"lpips": None} for row in self.rows} | {"mean": self.mean() | {"lpips": None}}
        return {"title": self.table.title, "ours": ours, "published": self.table.published, "notes": list(self.notes)}


def measure_table(
    name: str,
    data: Path,
    body: Path,
    config: SessionConfig,
    *,
    subjects: Iterable[str] = (),
    on_event: Callable[[Event], None] = lambda event: None,
) -> MeasuredTable:
    """Fits each subject offline (all frames, then config.final_iterations steps) and measures its test split.

    Args:
        name: of TABLES.
        body: a SMPL model file, or a folder with those of each gender.
        subjects: some of the table's; none means all.

    Raises:
        ValueError: an unknown table or subject, or data or a body that cannot be used (named).
    """
    table = _table(name)
    chosen = tuple(subjects) or table.subjects
    if unknown := [subject for subject in chosen if subject not in table.subjects]:
        raise ValueError(f"subjects: expected some of {', '.join(table.subjects)}, got {', '.join(unknown)}")
    rows, notes = [], [LPIPS_NOTE, *table.notes]
    for subject in chosen:
        loaded_body = load_smpl(smpl_file(body, table.gender(subject)))
        loaded = table.load(data, subject, loaded_body)
        notes += [f"{subject}: {note}" for note in loaded.notes]
        rows.append(Row(subject, measure_subject(loaded, loaded_body, config, table.refines_pose, on_event)))
    return MeasuredTable(table, tuple(rows), tuple(notes))


def _table(name: str) -> Table:
    if name not in TABLES:
        raise ValueError(f"table: expected one of {', '.join(TABLES)}, got {name!r}")
    return TABLES[name]


def measure_subject(
    subject: DatasetSubject,
    body: BodyModel,
    config: SessionConfig,
    refines_pose: bool,
    on_event: Callable[[Event], None] = lambda event: None,
) -> dict[str, float]:
    """One offline fit and its figures."""
    config = replace(config, trainer=replace(config.trainer, refine_pose=config.trainer.refine_pose and refines_pose))
    with DatasetSource(subject.train) as source:
        session = Session(source, KnownMasks(subject.train), KnownPoses(subject.train), body, config, on_event)
        result = session.run(Pace.ALL)
    took = {"fit_wall_s": result.fit_wall_s, "iterations": float(result.snapshot.iterations)}
    return {name: round(value, 5) for name, value in (_figures(result, subject.test) | took).items()}


class KnownMasks:
    """The dataset's own masks as a prior; it knows nothing else."""

    def __init__(self, split: DatasetSplit):
        self._split = split
        self._index = {int(stamp): i for i, stamp in enumerate(split.stamps_ns)}

    def predict(self, frame: Frame) -> PriorMaps:
        return PriorMaps(mask=self._split.mask(self._index[frame.stamp_ns]))

    def close(self) -> None:
        """Nothing is held open."""


def _figures(result: SessionResult, test: DatasetSplit) -> dict[str, float]:
    """Means over the shots. A pose that was learned in training is drawn as learned."""
    rows = []
    for i, shot in enumerate(test.shots):
        state = result.states.get(shot.stamp_ns, shot.state)
        drawn = draw(result.avatar, state, shot.camera, COLOR).rgb
        assert drawn is not None
        picture, truth = drawn.clamp(0, 1).numpy(), test.frame(i).rgb
        rows.append((metrics.psnr(picture, truth), metrics.ssim(picture, truth), peer_ssim(picture, truth / 255)))
    return dict(zip(("psnr", "ssim", "peer_ssim"), np.mean(rows, axis=0).tolist(), strict=True))
