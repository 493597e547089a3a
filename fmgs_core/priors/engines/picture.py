"""A picture of a person to compare engines on: random pixels would not drive a network to the values it works with."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.priors.sapiens.crop import MEAN, STD
from fmgs_core.priors.template import template_maps
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera

_DISTANCE_M, _FILLED = 3.5, 0.85
_SKIN, _LAMP = np.array([205.0, 160.0, 135.0]), np.array([0.4, -0.6, -0.7])


def body_picture(height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """The default body in its T-pose under a lamp, before a noisy gradient. The same bytes each time."""
    body = default_body()
    state = body.neutral_state()
    maps = template_maps(body, state, _camera(posed_vertices(body, state), height, width))
    assert maps.normal is not None and maps.depth is not None
    lit = 0.35 + 0.65 * np.clip(maps.normal @ _LAMP, 0, 1)
    rows = np.linspace(60, 190, height)[:, None, None]
    room = rows + np.random.default_rng(0).normal(0, 6, (height, width, 3))
    picture = np.where(np.isfinite(maps.depth)[..., None], lit[..., None] * _SKIN, room)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _camera(vertices: Float[np.ndarray, "V 3"], height: int, width: int) -> Camera:
    """In front of the body, which fills the picture."""
    low, high = vertices.min(0), vertices.max(0)
    reach = high - low
    focal = _FILLED * _DISTANCE_M * min(width / reach[0], height / reach[1])
    T_camera_world = T_CAMERA_WORLD_UNPOSED.copy()
    T_camera_world[:3, 3] = -T_camera_world[:3, :3] @ ((low + high) / 2 + (0, 0, _DISTANCE_M))
    return Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), width, height, T_camera_world)


def normalised_pixels(picture: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
    """As the networks take them."""
    pixels = (picture.astype(np.float32) - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))
