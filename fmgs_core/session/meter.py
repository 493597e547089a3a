"""How the fit goes, beat by beat."""

from collections.abc import Callable

import torch

from fmgs_core.concurrency import Cadence
from fmgs_core.config import SessionConfig
from fmgs_core.session.events import Progress, SwitchedOn
from fmgs_core.session.recording import RunningMean
from fmgs_core.training.trainer import StepReport, Trainer


class Meter:
    """Counts from its making on."""

    def __init__(self, config: SessionConfig, clock_s: Callable[[], float]):
        self._clock_s, self._start_s = clock_s, clock_s()
        self._beat, self._measure_beat = Cadence(config.progress_every_s, clock_s), Cadence(config.measure_every_s, clock_s)
        self._loss = RunningMean()
        self._psnr_db: float | None = None
        self.progress: list[Progress] = []
        self.switches: list[SwitchedOn] = []

    @property
    def elapsed_s(self) -> float:
        return self._clock_s() - self._start_s

    def stepped(self, report: StepReport) -> bool:
        """Whether it is time to report."""
        self._loss.add(torch.stack(list(report.losses.values())).sum())
        return self._beat.due()

    def report(self, trainer: Trainer, frames: int, frames_dropped: int, *, last: bool = False) -> Progress:
        elapsed_s = max(self.elapsed_s, 1e-9)
        before = self.progress[-1] if self.progress else None
        if last or self._measure_beat.due():
            self._psnr_db = trainer.held_out_psnr()
        span_s = max(elapsed_s - (before.elapsed_s if before else 0.0), 1e-9)
        progress = Progress(
            elapsed_s=elapsed_s,
            frames=frames,
            frames_dropped=frames_dropped,
            frames_per_s=(frames - (before.frames if before else 0)) / span_s,
            iterations=trainer.iterations,
            iterations_per_s=(trainer.iterations - (before.iterations if before else 0)) / span_s,
            keyframes=len(trainer.memory),
            loss=self._loss.take(),
            psnr_db=self._psnr_db,
            yaw_deg=trainer.schedule.coverage.degrees,
            gaussians=len(trainer.avatar.faces),
        )
        self.progress.append(progress)
        return progress

    def switched(self, trainer: Trainer) -> list[SwitchedOn]:
        """What was switched on since the last call."""
        fresh = [SwitchedOn(self.elapsed_s, s.part.value, s.why) for s in trainer.schedule.switched[len(self.switches) :]]
        self.switches += fresh
        return fresh
