"""Suite `step`: one training iteration, and where its time goes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from fmgs_core.avatar.model import Avatar
from fmgs_core.benchmark.device import finished
from fmgs_core.benchmark.measurement import Better, Measurement, Progress, speeds
from fmgs_core.benchmark.person import View, turning_person
from fmgs_core.benchmark.profiling import profiled_ms
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.body.template import BodyModel
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.trainer import Trainer, TrainerConfig

TOLERANCE = 0.25
"""On two shared cores a plain step was 5.4 to 5.5 of the peer's jobs while they were quiet and 3.6 to 4.5 beside one or two
busy processes, which cost the peer's vector code more: against a quiet baseline a busy machine hides, and does not accuse."""
SHARE_SHOWN = 0.01  # parts that take less of a step than this are summed up as "rest"


def step_suite(
    body: BodyModel, config: BenchmarkConfig, reference: Callable[[], object] | None, progress: Progress
) -> Iterator[Measurement]:
    """Milliseconds of a plain step, of one with the auxiliary losses, and of the mean over their cycle.

    Args:
        reference: the peer's job, the unit of the ratios; None measures without.
    """
    suite = "step" if config.device == "cpu" else f"step {config.device}"
    progress(f"{suite}: making {config.keyframes} views")
    views = turning_person(body, config.keyframes, config.size_px, config.person_px)
    cycle = TrainerConfig().auxiliary_every
    for poses, refine in (("fixed", False), ("learned", True)):
        usual = replace(everything_learns(), backend=config.device, refine_pose=refine)
        plain = _trained_once(body, views, replace(usual, auxiliary_every=1_000_000_000))
        auxiliary = _trained_once(body, views, replace(usual, auxiliary_every=1))
        both = trainer_of(body, views, usual)
        progress(f"{suite}: {config.repeats + config.warm_up} rounds of {2 + cycle} steps, poses {poses}")
        calls: dict[str, Callable[[], object]] = {
            f"plain step, poses {poses}": plain.step,
            f"auxiliary step, poses {poses}": auxiliary.step,
            f"mean step of {cycle}, poses {poses}": lambda trainer=both: [trainer.step() for _ in range(cycle)],
        }
        calls = {name: finished(call, config.device) for name, call in calls.items()}
        for row in speeds(suite, calls, reference, config.repeats, config.warm_up, TOLERANCE):
            yield _of_one(row, cycle) if row.name.startswith("mean") else row
        progress(f"{suite}: parts of a step, poses {poses}")
        yield from _parts(suite, poses, both, cycle * max(1, config.repeats // cycle))


def trainer_of(body: BodyModel, views: Iterable[View], config: TrainerConfig) -> Trainer:
    """One that has seen the views and taken no step."""
    trainer = Trainer(Avatar(body, device=config.device), config)
    for view in views:
        trainer.add(view.frame, view.maps, view.state)
    return trainer


def everything_learns() -> TrainerConfig:
    """The default preset late in a stream, when no part waits for evidence any more."""
    at_once = ScheduleConfig(
        geometry_after_keyframes=1, geometry_after_yaw_deg=0.0, pose_after_keyframes=1, pose_after_yaw_deg=0.0
    )
    return TrainerConfig(schedule=at_once)


def _trained_once(body: BodyModel, views: list[View], config: TrainerConfig) -> Trainer:
    """The very first step takes the auxiliary losses whatever their beat."""
    trainer = trainer_of(body, views, config)
    trainer.step()
    return trainer


def _of_one(row: Measurement, steps: int) -> Measurement:
    return replace(row, value=row.value / steps, ratio=None if row.ratio is None else row.ratio / steps)


def _parts(suite: str, poses: str, trainer: Trainer, steps: int) -> Iterator[Measurement]:
    """Shown, never compared: parts are named after modules, and those may change with the code."""
    parts = profiled_ms(trainer.step, steps)
    least = SHARE_SHOWN * sum(parts.values())
    shown = {name: ms for name, ms in parts.items() if ms >= least}
    shown["rest"] = sum(parts.values()) - sum(shown.values())
    for name, ms in shown.items():
        yield Measurement(suite, f"of a mean step, poses {poses}: {name}", ms, "ms", Better.LOWER, None, None)
