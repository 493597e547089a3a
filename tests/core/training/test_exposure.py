"""Exposure that changes from picture to picture. Kinds: closed form, behaviour on a person whose every splat is known."""

from dataclasses import replace

import numpy as np
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.raster import rasterize
from fmgs_core.training.exposure import exposed, exposure_gain, mean_gain
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.targets import make_backdrop
from fmgs_core.training.trainer import Trainer, TrainerConfig
from fmgs_core.types import Channel

from .scene import camera, observation, person, state, turn

COUNT = 16


def test_gains_average_to_one_relative_to_their_geometric_mean():
    trainer = Trainer(Avatar(default_body()), TrainerConfig(memory=MemoryConfig(held_out=0)))
    gains = [None, torch.tensor([0.5, 1.0, 2.0]), torch.tensor([1.2, 0.8, 1.0])]
    for i, (of, gain) in enumerate(zip(turn(3), gains, strict=True)):
        keyframe = trainer.add(*observation(i, of, camera()), of)
        assert keyframe is not None and keyframe.gain is None
        keyframe.gain = gain
    mean = mean_gain(trainer.memory)
    white = torch.ones(1, 1, 3)
    seen = torch.stack([exposed(white, k.gain, mean) for k in trainer.memory])
    torch.testing.assert_close(seen.log().mean((0, 1, 2)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[1] / seen[0], gains[1].expand(1, 1, 3))  # type: ignore[union-attr]


def test_an_exposure_that_stays_costs_nothing():
    rgb = torch.rand(2, 2, 3)
    assert exposure_gain(np.ones(3, np.float32), torch.device("cpu")) is None
    assert mean_gain([]) is None and exposed(rgb, None, None) is rgb


def test_the_room_behind_a_keyframe_is_of_its_exposure():
    colors, known = np.full((2, 2, 3), 100, np.uint8), np.ones((2, 2), bool)
    picture = torch.full((2, 2, 3), 100, dtype=torch.uint8)
    backdrop = make_backdrop(1, colors, known, torch.zeros(2, 2), picture, torch.tensor([0.5, 1.0, 3.0]))
    assert backdrop.colors[0, 0].tolist() == [50, 100, 255]


def test_colours_are_found_under_a_drifting_exposure():
    """One turn at one exposure, until the room is known, and one during which it doubles; from the front, the mean error of the
    lit colours is 0.055 of 1 with the gains, and 0.108 without."""
    config = TrainerConfig(
        memory=MemoryConfig(held_out=0),
        schedule=ScheduleConfig(geometry_after_keyframes=1000),
        refine_pose=False,
        newest_share=0.0,
    )
    trainer = Trainer(Avatar(default_body()), config)
    for i in range(2 * COUNT):
        # The first turn is at one exposure, until the room is known.
        of, gain = state(2 * np.pi * i / COUNT + 0.05 * (i >= COUNT)), np.exp((max(i - COUNT + 1, 0) / COUNT) - 0.25)
        frame, maps = observation(i, of, camera(), geometry=False)
        trainer.add(replace(frame, rgb=np.rint(frame.rgb * gain).clip(0, 255).astype(np.uint8)), maps, of)
    for _ in range(150):
        trainer.step()
    renderings = [
        rasterize(avatar.drawn(state()), camera(), frozenset({Channel.RGB}), cull_backfaces=True)
        for avatar in (trainer.avatar, person())
    ]
    found, truth = (r.rgb for r in renderings)
    assert found is not None and truth is not None
    error = float((found - truth)[renderings[1].alpha > 0.9].abs().mean())
    assert error < 0.075 and trainer.background.room == 1
