"""The light of the room: colour = albedo * shading, with shading a function of the world normal alone.

A person who turns in fixed light shows each side lit differently from view to view; a plain colour per Gaussian averages that
away. Second-order spherical harmonics hold nearly all of what a matt surface reflects (Ramamoorthi and Hanrahan, 2001), one
set per capture.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.avatar.light_kernel import Lit
from fmgs_core.geometry import third_axis

NUM_HARMONICS = 8
"""Of first and second order. The constant is left out: it is the albedo's to say."""

BOUND = 0.6
"""Shading stays within 1 - BOUND and 1 + BOUND, so that albedo is never divided by nearly nothing."""

# From first to last how much of a harmonic a matt surface reflects, relative to the constant: 2/3 and 1/4.
_REFLECTED_1, _REFLECTED_2 = 2 / 3, 1 / 4


def harmonics(normals: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 8"]:
    """Real spherical harmonics of first and second order, without their common factors."""
    x, y, z = normals.unbind(-1)
    return torch.stack([y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], -1)


class RoomLight(torch.nn.Module):
    """Learnable coefficients; zeros are even light from everywhere."""

    def __init__(self):
        super().__init__()
        self.coefficients = torch.nn.Parameter(torch.zeros(NUM_HARMONICS, 3))

    def forward(self, normals: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        """Shading per colour channel, of unit normals in world axes."""
        ratio = harmonics(normals) @ self.coefficients / BOUND
        return 1 + BOUND * ratio * torch.rsqrt(1 + ratio * ratio)

    def lit(self, albedo: Float[Tensor, "K 3"], quats: Float[Tensor, "K 4"]) -> Float[Tensor, "K 3"]:
        """Colours of splats of unit quaternions. No gradient goes to the quaternions: light must not bend the surface towards
        what would explain a colour. On a CPU by a hand-written kernel."""
        if albedo.device.type != "cpu":
            return albedo * self(third_axis(quats.detach()))
        return Lit.apply(albedo, quats.detach(), self.coefficients, BOUND)  # type: ignore[return-value]


def directional(direction: Float[Tensor, "3"], strength: float) -> RoomLight:
    """A lamp in `direction` (world axes, from the person), white.

    Args:
        strength: shading of a surface that faces it, minus 1; before the bound.
    """
    light = RoomLight()
    unit = torch.nn.functional.normalize(direction, dim=-1)
    x, y, z = unit.tolist()
    # Harmonics of the addition theorem: l = 1 gives cos, l = 2 gives (3 cos^2 - 1) / 2.
    second = [3 * x * y, 3 * y * z, (3 * z * z - 1) / 4, 3 * x * z, 0.75 * (x * x - y * y)]
    lobe = torch.tensor([*(_REFLECTED_1 * c for c in (y, z, x)), *(_REFLECTED_2 * c for c in second)])
    with torch.no_grad():
        light.coefficients.copy_((strength * lobe / (_REFLECTED_1 + _REFLECTED_2))[:, None].expand(-1, 3))
    return light


def even_directions(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors spread evenly over the sphere (Fibonacci)."""
    i = torch.arange(count) + 0.5
    polar, azimuth = torch.acos(1 - 2 * i / count), math.pi * (1 + math.sqrt(5)) * i
    return torch.stack([azimuth.cos() * polar.sin(), polar.cos(), azimuth.sin() * polar.sin()], -1)
