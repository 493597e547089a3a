"""The stages' configurations composed into one, and presets of it. The defaults are the preset `cpu`."""

import math
from dataclasses import dataclass, field
from enum import Enum

from fmgs_core.avatar.fields import FieldConfig
from fmgs_core.priors.mediapipe import MediaPipeConfig
from fmgs_core.stream.source import SourceConfig
from fmgs_core.tracking.smoothing import SmoothingConfig
from fmgs_core.tracking.tracker import TrackerConfig
from fmgs_core.training.background import BackgroundConfig
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.trainer import LearningRates, LossWeights, TrainerConfig


class Pace(Enum):
    """How the stream is consumed."""

    LIVE = "live"
    """As it comes: capture, tracking and training run side by side, frames that nobody had time for are dropped."""
    ALL = "all"
    """Every frame in order, a fixed number of training steps after each: the same input gives the same avatar, bit for bit."""


@dataclass(frozen=True)
class SideCarConfig:
    """A model of normals, depth and labels that is too slow for every frame."""

    budget_ms_per_s: float = 1000.0
    """Wall milliseconds per second that it may work beside the stream; it rests in between. 1000 is without a rest. At pace
    all it looks at every keyframe, however long that takes."""

    def __post_init__(self):
        if not 0 < self.budget_ms_per_s <= 1000:
            raise ValueError(f"SideCarConfig.budget_ms_per_s: expected more than 0 up to 1000, got {self.budget_ms_per_s}")

    def rest_s(self, busy_s: float) -> float:
        """How long it has to rest after so long a work."""
        return busy_s * (1000 / self.budget_ms_per_s - 1)


@dataclass(frozen=True)
class SessionConfig:
    """Everything that one online fit depends on."""

    source: SourceConfig = field(default_factory=SourceConfig)
    mediapipe: MediaPipeConfig = field(default_factory=MediaPipeConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    side_car: SideCarConfig = field(default_factory=SideCarConfig)
    gaussians: int = 55_000
    """Gaussians of the avatar in the end: the body's longest edges are halved until it has as many faces. It starts with one
    per face and gets the others once: at pace live when no new side of the person is to be waited for and the residual has
    stopped falling, or earlier as the next field says, at pace all after the last frame. Fewer than the body has faces means
    one per face."""
    least_iterations_per_s: float = 18.0
    """Beside a stream the residual is not waited for if, by the measured rate, so many training steps a second would be left
    with all Gaussians."""
    fields: FieldConfig = field(default_factory=FieldConfig)
    template_maps: bool = True
    """Whether normals, depth and labels that the prior lacks are drawn from the fitted body itself (a weak prior)."""
    max_unlikeness: float = 0.12
    """After the person was lost, whoever appears is learned from only if the colours of their body parts differ by no more
    than this, in [0, 1], from those seen before; 1 learns from anybody."""
    iterations_per_frame: int = 5
    """Training steps after each frame at pace all."""
    final_iterations: int = 500
    """Training steps after the last frame at pace all."""
    budget_s: float = 60.0
    """Wall time of capture and training at pace live; training goes on after a stream that ends sooner."""
    max_frame_age_s: float = 0.2
    """At pace live, a frame older than this is dropped unread."""
    progress_every_s: float = 0.5
    """Beat of the progress events."""
    measure_every_s: float = 3.0
    """Beat of the PSNR on held-back keyframes, which costs about as much as five training steps."""
    save_every_s: float = 10.0
    """Beat of the snapshots written while the stream runs, so that a crash loses seconds and not the avatar."""
    recorded_frames: int = 240
    """Pictures of the stream kept (as JPEG) for the overlay video; thinned evenly when there are more."""

    def __post_init__(self):
        for name, least in (("gaussians", 0), ("iterations_per_frame", 0), ("final_iterations", 0), ("recorded_frames", 2),
                            ("least_iterations_per_s", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"SessionConfig.{name}: expected at least {least}, got {getattr(self, name)}")
        if not 0 < self.max_unlikeness <= 1:
            raise ValueError(f"SessionConfig.max_unlikeness: expected more than 0 up to 1, got {self.max_unlikeness}")
        for name in ("budget_s", "max_frame_age_s", "progress_every_s", "measure_every_s", "save_every_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"SessionConfig.{name}: expected more than zero seconds, got {getattr(self, name)}")


def _paper() -> SessionConfig:
    """FMGS-Avatar offline: every frame is remembered, then 15,000 steps, one Gaussian per face, no light.

    Printed in the paper: the hashed fields, the losses with their routing, the weight of the mask, one 2D Gaussian per face of
    an upsampled SMPL. Where it is silent, mikeqzy/3dgs-avatar-release (configs/config.yaml, configs/option/iter15k.yaml, the
    delays in configs/non_rigid and configs/pose_correction): iterations, rates, delays, decay to a tenth, weights of skinning
    and isometry. Weights of depth, normal, label and spread: ours.

    Not as in the paper: no clipping of gradients; maps of normals, depth and labels come from the body (template_maps) unless
    a prior has them, where the paper has Sapiens'.
    """
    iterations = 15_000
    trainer = TrainerConfig(
        weights=LossWeights(
            color=1.0,
            mask=0.1,
            depth=0.05,
            depth_order=0.0,
            normal=0.05,
            self_normal=0.05,
            normal_variation=0.05,
            label=0.05,
            label_spread=1e-3,
            isometry=1.0,
            covariance_isometry=100.0,
            skinning=10.0,
            skinning_later=0.1,
            offset_smoothness=0.0,
            surface=0.0,
            scale_decay=0.0,
            rotation_decay=0.0,
            light_unseen=0.0,
            light_decay=0.0,
        ),
        rates=LearningRates(
            geometry=1e-3,
            appearance=1e-3,
            semantics=1e-3,
            pose_encoder=1e-3,
            skinning=1e-4,
            opacity_logit=0.05,
            pose=1e-4,
            transl=1e-4,
            light=0.0,
        ),
        memory=MemoryConfig(budget=1000, held_out=0, crop_max_px=1024, min_novelty_m=0.0),
        schedule=ScheduleConfig(
            geometry_after_keyframes=1,
            pose_after_keyframes=1,
            geometry_after_iterations=3000,
            pose_after_iterations=5000,
            geometry_after_yaw_deg=0.0,
            pose_after_yaw_deg=0.0,
            skinning_after_iterations=1000,
            decay_iterations=iterations * math.log(2) / math.log(10),
            decay_floor=0.1,
        ),
        background=BackgroundConfig(enabled=False),
        newest_share=0.0,
        auxiliary_every=1,
    )
    fields = FieldConfig(geometry="hash", appearance="hash", semantics="hash", skinning="field")
    return SessionConfig(trainer=trainer, gaussians=55_104, fields=fields, iterations_per_frame=0, final_iterations=iterations)


PRESETS = {
    "cpu": SessionConfig(),
    "gpu": SessionConfig(trainer=TrainerConfig(backend="cuda")),
    "paper": _paper(),
}
"""By the name that --preset takes."""
OFFLINE_PRESETS = frozenset({"paper"})
"""Those that make sense at pace all only: they do not train before the last frame."""
