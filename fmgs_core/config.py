"""The stages' configurations composed into one. The defaults are the preset `cpu`."""

from dataclasses import dataclass, field
from enum import Enum

from fmgs_core.priors.mediapipe import MediaPipeConfig
from fmgs_core.stream.source import SourceConfig
from fmgs_core.tracking.tracker import TrackerConfig
from fmgs_core.training.trainer import TrainerConfig


class Pace(Enum):
    """How the stream is consumed."""

    LIVE = "live"
    """As it comes: capture, tracking and training run side by side, frames that nobody had time for are dropped."""
    ALL = "all"
    """Every frame in order, a fixed number of training steps after each: the same input gives the same avatar, bit for bit."""


@dataclass(frozen=True)
class SessionConfig:
    """Everything that one online fit depends on."""

    source: SourceConfig = field(default_factory=SourceConfig)
    mediapipe: MediaPipeConfig = field(default_factory=MediaPipeConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    gaussians: int = 55_000
    """Gaussians of the avatar: the body's longest edges are halved until it has as many faces. Fewer than it has faces
    without that means one per face."""
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
        for name, least in (("gaussians", 0), ("iterations_per_frame", 0), ("final_iterations", 0), ("recorded_frames", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"SessionConfig.{name}: expected at least {least}, got {getattr(self, name)}")
        if not 0 < self.max_unlikeness <= 1:
            raise ValueError(f"SessionConfig.max_unlikeness: expected more than 0 up to 1, got {self.max_unlikeness}")
        for name in ("budget_s", "max_frame_age_s", "progress_every_s", "measure_every_s", "save_every_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"SessionConfig.{name}: expected more than zero seconds, got {getattr(self, name)}")
