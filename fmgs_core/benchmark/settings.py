"""How large and how long the measurements are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fmgs_core.body.default import default_body
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel
from fmgs_core.config import SessionConfig

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class BenchmarkConfig:
    """The committed baseline belongs to the defaults: other sizes give other ratios under the same names."""

    device: Device = "cpu"
    """Where steps and renderings run."""
    size_px: int = 512
    """Side of the square picture."""
    person_px: int = 400
    """Height of the person in it."""
    gaussians: int = SessionConfig().gaussians
    """Of the avatar, as `SessionConfig.gaussians`."""
    keyframes: int = 8
    """Views around the person that training goes over."""
    repeats: int = 30
    """Turns of all candidates that count; the median of each is taken."""
    warm_up: int = 4
    """Turns before them."""
    live_s: float = 20.0
    """Wall time of each live session of the suite latency, of which the first two seconds do not count."""
    iterations: int = 1000
    """Training steps over which the suite memory watches."""
    sample: Path = Path("samples/dressed_a")
    """Recording that is replayed live; relative to the project's folder."""

    def __post_init__(self):
        least = {"size_px": 32, "person_px": 16, "gaussians": 0, "keyframes": 1, "repeats": 1, "warm_up": 0, "iterations": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"BenchmarkConfig.{name}: expected at least {number}, got {getattr(self, name)}")
        if not 2 < self.live_s < float("inf"):
            raise ValueError(f"BenchmarkConfig.live_s: expected more than two seconds, got {self.live_s}")

    def avatar_body(self) -> BodyModel:
        """The default body with as many faces as Gaussians are wanted, or its own where that is more."""
        body = default_body()
        return subdivided(body, max(self.gaussians, len(body.kept_faces))).body
