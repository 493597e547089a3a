"""`fmgs eval`: one online fit of a ground-truth sequence within a wall budget, then its figures on the test splits."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import trimesh

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.surface import surface_mesh
from fmgs_core.body.default import default_body
from fmgs_core.body.interpolation import state_at
from fmgs_core.body.skinning import posed_joints
from fmgs_core.body.template import BodyModel
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.evaluation import metrics
from fmgs_core.evaluation.disturbances import DisturbanceConfig, Disturbed, DisturbedPrior
from fmgs_core.priors import Prior
from fmgs_core.priors.mediapipe import MediaPipePrior
from fmgs_core.priors.recorded import RecordedPrior
from fmgs_core.rendering.pictures import draw, label_map
from fmgs_core.session import Session, SessionResult
from fmgs_core.session.events import Event
from fmgs_core.session.observer import PoseSource
from fmgs_core.session.warmup import warm_up
from fmgs_core.stream.datasets import DatasetSplit
from fmgs_core.stream.sequence import Sequence, SequenceSplit
from fmgs_core.tracking.tracker import BodyTracker, TrackedBody, TrackingStatus
from fmgs_core.types import BodyState, Channel, Frame, PriorMaps, Rendering

ALL_CHANNELS = frozenset(Channel)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is given to the fit and what it has to find out by itself."""

    poses: str = "tracked"
    """"true": the sequence's own body states. "tracked": those of the tracker."""
    priors: str = "auto"
    """"auto": MediaPipe and the template. "true": the sequence's own mask, depth, normal and label maps, or those of `maps`."""
    budget_s: float = 60.0
    """Wall seconds of streaming and training."""
    height: str = "known"
    """"known": the tracker is told the true body height. "unknown": it is not."""
    pace: Pace = Pace.LIVE
    """LIVE: online, within the budget. ALL: every frame, and the session's numbers of steps in place of the budget."""
    maps: Path | None = None
    """A sequence of the same frames whose train maps are taken in place of the sequence's own (scripts/degrade_maps.py)."""
    disturbance: DisturbanceConfig = field(default_factory=DisturbanceConfig)
    """What is done to the stream before the fit sees it."""

    def __post_init__(self):
        for name, allowed in (("poses", ("true", "tracked")), ("priors", ("auto", "true")), ("height", ("known", "unknown"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"EvaluationConfig.{name}: expected one of {allowed}, got {getattr(self, name)!r}")
        if self.maps is not None and self.priors != "true":
            raise ValueError(f"EvaluationConfig.maps: expected none with priors {self.priors!r}, got {self.maps}")
        if not self.budget_s > 0:
            raise ValueError(f"EvaluationConfig.budget_s: expected more than zero seconds, got {self.budget_s}")


class KnownPoses:
    """The sequence's own body states in place of a tracker."""

    def __init__(self, split: SequenceSplit | DatasetSplit):
        self._states = dict(zip((int(s) for s in split.stamps_ns), split.states, strict=True))

    def update(self, frame: Frame, maps: PriorMaps) -> TrackedBody:
        state = self._states[frame.stamp_ns]
        return TrackedBody(state, TrackingStatus.TRACKING, 1.0, flip_corrected=False, inflation=None)


@dataclass(frozen=True)
class Evaluation:
    """Figures and the fit behind them."""

    figures: dict[str, float]
    """Flat: `<metric>_view`, `<metric>_pose`, `<metric>_in_view`, `<metric>_in_pose`, and those of the fit."""
    result: SessionResult
    comparisons: dict[str, list[np.ndarray]]
    """By split: pictures of truth beside rendering."""


def evaluate(
    root: Path, config: EvaluationConfig, session_config: SessionConfig, on_event: Callable[[Event], None] = lambda event: None
) -> Evaluation:
    """Streams the train split once and measures the avatar that stands at the end of the budget, or of the training.

    Raises:
        ValueError: not an avatar_gt/1 sequence.
        NobodyFound: the fit had nothing to learn from.
    """
    sequence, body = Sequence(root), default_body()
    result = fit(sequence, body, config, session_config, on_event)
    figures = {
        "fit_wall_s": result.fit_wall_s,
        "iterations": result.snapshot.iterations,
        "frames_seen": result.frames_with_person,
    }
    measured, comparisons = measure(sequence, body, result.avatar, result.states, config)
    return Evaluation({k: round(float(v), 5) for k, v in (figures | measured).items()}, result, comparisons)


def fit(
    sequence: Sequence,
    body: BodyModel,
    config: EvaluationConfig,
    session_config: SessionConfig,
    on_event: Callable[[Event], None],
    checkpoints_s: tuple[float, ...] = (),
) -> SessionResult:
    """One run over the train split; what was learned at `checkpoints_s` is put aside."""
    root, train = sequence.root, sequence.split("train")
    session_config = replace(
        session_config,
        budget_s=config.budget_s,
        trainer=replace(session_config.trainer, refine_pose=session_config.trainer.refine_pose and config.poses == "tracked"),
    )
    warm_up(body, session_config, on_event)
    disturbed = Disturbed(train, body, config.disturbance)
    prior = DisturbedPrior(_prior(root, config, session_config), disturbed)
    with disturbed.source(session_config.source, f"{sequence.name}/train", sequence.fps) as source:
        poses = _pose_source(config, session_config, train, body)
        session = Session(source, prior, poses, body, session_config, on_event, checkpoints_s=checkpoints_s)
        try:
            return session.run(config.pace)
        finally:
            prior.close()


def measure(
    sequence: Sequence, body: BodyModel, avatar: Avatar, states: dict[int, BodyState], config: EvaluationConfig
) -> tuple[dict[str, float], dict[str, list[np.ndarray]]]:
    """Figures of an avatar on the test splits, and by split pictures of truth beside rendering.

    Args:
        states: body states of train frames by stamp, as they were found.
    """
    train = sequence.split("train")
    figures = _body_figures(body, train, states) if config.poses == "tracked" else {}
    comparisons = {}
    for key in ("view", "pose"):
        split = sequence.split(f"test_{key}")
        split_figures, comparisons[key] = _split_figures(avatar, states, split, train, key, config)
        figures |= split_figures
    figures["chamfer_mm"] = _chamfer(sequence.root, avatar, train.states[0].betas)
    return figures, comparisons


def _prior(root: Path, config: EvaluationConfig, session: SessionConfig) -> Prior:
    if config.priors == "auto":
        return MediaPipePrior(session.mediapipe)
    return RecordedPrior((config.maps or root) / "train")


def _pose_source(config: EvaluationConfig, session: SessionConfig, train: SequenceSplit, body: BodyModel) -> PoseSource:
    if config.poses == "true":
        return KnownPoses(train)
    height_m = body.height(train.states[0].betas) if config.height == "known" else None
    return BodyTracker(body, replace(session.tracker, subject_height_m=height_m))


def _split_figures(
    avatar: Avatar,
    states: dict[int, BodyState],
    split: SequenceSplit,
    train: SequenceSplit,
    key: str,
    config: EvaluationConfig,
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Means over the split's frames. Where the train frame was dropped unseen, the body is drawn between its neighbours."""
    rows, pictures = [], []
    for i in range(len(split)):
        state = _state_to_draw(states, split, train, i, config)
        rendering = draw(avatar, state, split.cameras[i], ALL_CHANNELS)
        rows.append(_frame_figures(rendering, split, i))
        if i % max(1, len(split) // 4) == 0:
            drawn = np.clip(rendering.rgb.numpy(), 0, 1)  # type: ignore[union-attr]
            pictures.append(np.concatenate([split.frame(i).rgb, (drawn * 255 + 0.5).astype(np.uint8)], 1))
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {f"{name}_{key}": value for name, value in means.items()}, pictures


def _state_to_draw(
    states: dict[int, BodyState], split: SequenceSplit, train: SequenceSplit, index: int, config: EvaluationConfig
) -> BodyState:
    if config.poses == "true" or split.train_index is None:
        return split.states[index]
    return state_at(states, int(train.stamps_ns[int(split.train_index[index])]))


def _frame_figures(rendering: Rendering, split: SequenceSplit, index: int) -> dict[str, float]:
    """The paper's way over the whole black-ground picture, and "_in" over the true mask's pixels only."""
    assert rendering.rgb is not None and rendering.depth is not None and rendering.normal is not None
    truth, true_mask = split.frame(index).rgb, split.mask(index)
    picture, alpha = rendering.rgb.clamp(0, 1).numpy(), rendering.alpha.clamp(0, 1).numpy()
    depth, normal = split.depth(index), split.normal(index)
    surface = np.isfinite(depth)
    flip_error = metrics.flip_map(picture, truth)  # half of the time of measuring: taken once
    figures = {
        "psnr": metrics.psnr(picture, truth),
        "ssim": metrics.ssim(picture, truth),
        "flip": float(flip_error.mean(dtype=np.float64)),
        "psnr_in": metrics.psnr(picture, truth, true_mask),
        "ssim_in": metrics.ssim(picture, truth, true_mask),
        "flip_in": float(flip_error[true_mask > 0.5].mean(dtype=np.float64)),
        "mask_iou": metrics.mask_iou(alpha, true_mask),
        "miou28": metrics.miou(label_map(rendering), split.labels(index)),
    }
    if not (surface & (alpha > 0.5)).any():  # the avatar missed the person altogether
        return figures | {"normal_deg": 90.0, "depth_mm": 1000.0}
    return figures | {
        "normal_deg": metrics.normal_deg(rendering.normal.numpy(), normal, alpha, surface),
        "depth_mm": metrics.depth_mm(rendering.depth.numpy(), depth, alpha, surface),
    }


def _body_figures(body: BodyModel, train: SequenceSplit, states: dict[int, BodyState]) -> dict[str, float]:
    """Errors of the body states over the frames that have one, in the train camera's axes (x right, y down, z forward)."""
    by_stamp = {int(s): (state, camera) for s, state, camera in zip(train.stamps_ns, train.states, train.cameras, strict=True)}
    found, truth = [], []
    for stamp, state in states.items():
        true_state, camera = by_stamp[stamp]
        R, t = camera.T_camera_world[:3, :3], camera.T_camera_world[:3, 3]
        found.append(posed_joints(body, state) @ R.T + t)
        truth.append(posed_joints(body, true_state) @ R.T + t)
    a, b = np.stack(found), np.stack(truth)
    root = metrics.root_mm(a, b)
    return {
        "mpjpe_mm": metrics.mpjpe_mm(a, b),
        "pa_mpjpe_mm": metrics.pa_mpjpe_mm(a, b),
        "root_mm": root.distance,
        "root_x_mm": root.x,
        "root_y_mm": root.y,
        "root_z_mm": root.z,
    }


@torch.no_grad()
def _chamfer(root: Path, avatar: Avatar, true_betas: np.ndarray) -> float:
    """From the true dressed surface to the avatar's, in the T-pose with the true betas."""
    canonical = trimesh.load(root / "canonical.ply", process=False)
    assert isinstance(canonical, trimesh.Trimesh)
    vertices, faces = surface_mesh(avatar, true_betas)
    return metrics.chamfer_mm(vertices, faces, np.asarray(canonical.vertices), np.asarray(canonical.faces))
