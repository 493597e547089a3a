"""What is assumed of light where no camera looks. Kinds: property, behaviour."""

import numpy as np
import torch

from fmgs_core.avatar.light import RoomLight, directional, even_directions
from fmgs_core.training.ambience import UnseenDirections

from .scene import camera


def test_even_light_costs_nothing():
    assert UnseenDirections("cpu").unevenness(RoomLight()) == 0


def test_only_normals_that_no_camera_faces_are_held_to_even_light():
    """The camera stands in front: of a lamp, what it does to the rest is what counts."""
    unseen, lamp, normals = UnseenDirections("cpu"), directional(torch.tensor([0.3, 0.1, 0.9]), 0.4), even_directions(400)
    unseen.saw(camera(), torch.zeros(3))
    eye = torch.from_numpy(np.linalg.inv(camera().T_camera_world)[:3, 3]).float()
    away = normals @ torch.nn.functional.normalize(eye, dim=0) < 0.1
    expected = (lamp(normals) - 1).square().mean(-1)[away].mean()
    torch.testing.assert_close(unseen.unevenness(lamp), expected)
    assert 0.4 < away.float().mean() < 0.6


def test_a_camera_walking_around_sees_all():
    unseen = UnseenDirections("cpu")
    lamp = directional(torch.tensor([1.0, 0.2, 0.0]), 0.4)
    before = unseen.unevenness(lamp)
    for yaw in np.linspace(0, 2 * np.pi, 8):
        unseen.saw(camera(yaw), torch.zeros(3))
    # The poles stay: no camera looked from above or below.
    assert unseen.unevenness(lamp) < 0.3 * before and unseen._unseen.sum() > 0
