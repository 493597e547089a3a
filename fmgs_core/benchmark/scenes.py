"""The scene that drawing speeds are measured on: a closed ellipsoid about the size of a person, seen whole."""

import numpy as np
import torch

from fmgs_core.geometry import quaternion_from_rotation, rigid
from fmgs_core.types import Camera, Splats

CLASSES = 28
_SEMI_AXES_M = np.array([0.35, 0.85, 0.22])
_DISTANCE_M = 3.0
_OPACITY = 0.9
_OVERLAP = 0.6
"""A splat's standard deviation in units of the square root of the surface it stands for."""


def ellipsoid_splats(count: int, seed: int = 0) -> Splats:
    """`count` splats evenly over the surface, about half of which face any camera.

    They follow Bauer's spiral (R. Bauer, 2000), so that neighbours in the list are neighbours in space, as on a mesh.
    """
    k = np.arange(count) + 0.5
    polar = np.arccos(1 - 2 * k / count)
    azimuth = np.sqrt(np.pi * count) * polar
    unit = np.stack([np.sin(polar) * np.cos(azimuth), np.cos(polar), np.sin(polar) * np.sin(azimuth)], 1)
    normals = unit / _SEMI_AXES_M
    # Area of the ellipsoid per area of the unit sphere.
    stretch = np.prod(_SEMI_AXES_M) * np.linalg.norm(normals, axis=1)
    deviation = _OVERLAP * np.sqrt(4 * np.pi / count * stretch)
    generator = torch.Generator().manual_seed(seed)
    return Splats(
        means=torch.from_numpy(unit * _SEMI_AXES_M).float(),
        quats=quaternion_from_rotation(_frames(normals)).float(),
        scales=torch.from_numpy(deviation).float()[:, None].repeat(1, 2),
        opacities=torch.full((count,), _OPACITY),
        colors=torch.rand(count, 3, generator=generator),
        logits=torch.randn(count, CLASSES, generator=generator),
    )


def _frames(normals: np.ndarray) -> torch.Tensor:
    """Right-handed frames whose third column is the normal, the first horizontal."""
    n = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    u = np.cross([0.0, 1.0, 0.0], n)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return torch.from_numpy(np.stack([u, np.cross(n, u), n], -1))


def ellipsoid_camera(size_px: int) -> Camera:
    """A square picture of which the ellipsoid fills 18 %."""
    K = np.array([[1.3 * size_px, 0, size_px / 2], [0, 1.3 * size_px, size_px / 2], [0, 0, 1]])
    return Camera(K, size_px, size_px, rigid(np.diag([1.0, -1.0, -1.0]), np.array([0, 0, _DISTANCE_M])))
