"""The configuration as a whole: defaults are valid, bad values are named, presets compose. Kind: refusal."""

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import pytest

from fmgs_core.config import SessionConfig
from fmgs_core.training.background import BackgroundConfig
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.trainer import LearningRates, LossWeights, TrainerConfig


def _parts(config: Any) -> Iterator[Any]:
    yield config
    for field in fields(config):
        if is_dataclass(part := getattr(config, field.name)):
            yield from _parts(part)


def test_every_part_is_frozen_equal_to_a_fresh_one_and_replaceable():
    for part in _parts(SessionConfig()):
        assert replace(part) == part == type(part)()
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (SessionConfig, "iterations_per_frame", -1),
        (SessionConfig, "final_iterations", -1),
        (SessionConfig, "recorded_frames", 1),
        (SessionConfig, "budget_s", 0.0),
        (SessionConfig, "budget_s", float("nan")),
        (SessionConfig, "max_frame_age_s", -0.1),
        (SessionConfig, "progress_every_s", 0.0),
        (SessionConfig, "measure_every_s", 0.0),
        (SessionConfig, "save_every_s", 0.0),
        (MemoryConfig, "budget", 1),
        (MemoryConfig, "held_out", -1),
        (MemoryConfig, "held_out_every", 1),
        (MemoryConfig, "crop_max_px", 31),
        (MemoryConfig, "min_novelty_m", -1e-3),
        (ScheduleConfig, "geometry_after_keyframes", 0),
        (ScheduleConfig, "pose_after_keyframes", 0),
        (ScheduleConfig, "decay_iterations", 0.0),
        (ScheduleConfig, "decay_floor", 1.5),
        (ScheduleConfig, "decay_floor", float("nan")),
        (BackgroundConfig, "max_drift", 0.0),
        (BackgroundConfig, "clearance", 1.0),
        (TrainerConfig, "newest_share", 1.1),
        (TrainerConfig, "auxiliary_every", 0),
        (TrainerConfig, "backend", "metal"),
        (TrainerConfig, "routing", "some"),
        (LossWeights, "color", -1.0),
        (LossWeights, "offset_smoothness", float("nan")),
        (LearningRates, "pose", -1e-3),
        (LearningRates, "logits", float("inf")),
    ],
)
def test_a_bad_value_is_refused_by_name_and_value(config: type, name: str, value: float):
    with pytest.raises(ValueError, match=rf"{config.__name__}.{name}: expected .*got '?{value}"):
        config(**{name: value})


@pytest.mark.parametrize("name", ["min_views", "update_every"])
def test_background_counts_below_one_are_refused(name: str):
    with pytest.raises(ValueError, match=r"BackgroundConfig: expected counts of at least 1, got .*0"):
        replace(BackgroundConfig(), **{name: 0})
