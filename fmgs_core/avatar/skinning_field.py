"""Skinning weights as a field over the corrected positions (FMGS-Avatar sec. 3.2), instead of the template's.

Positions move while the field learns, so this lookup is no constant product: a step costs several times a whole one without.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.avatar.hash_grid import FEATURES, GridConfig, encoded_reference, initial_table
from fmgs_core.avatar.layers import Layers

_HIDDEN = (128,) * 4  # 3DGS-Avatar: four layers of 128
_SMALLEST = 1e-6  # a weight of zero could never grow


@dataclass(frozen=True)
class TemplateSurface:
    """The rest mesh of the mean shape, under which fields lie: a change of shape leaves every face where it is in them."""

    vertices: Float[Tensor, "V 3"]
    """[m]"""
    faces: Int[Tensor, "K 3"]
    weights: Float[Tensor, "V J"]
    """Skinning weights, rows sum to 1."""
    parents: Int[np.ndarray, " J"]

    def sampled(self, count: int, generator: torch.Generator) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n J"]]:
        """Points [m] on random faces, uniform on each, and their skinning weights."""
        options = {"generator": generator, "device": self.vertices.device}
        corners = self.faces[torch.randint(len(self.faces), (count,), **options)]
        u, v = torch.rand(2, count, **options)
        u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
        share = torch.stack([1 - u - v, u, v], -1)[..., None]
        return (share * self.vertices[corners]).sum(1), (share * self.weights[corners]).sum(1)


class UnitCube:
    """Metres of the template's rest pose to the cube that grids cover: centred, of one scale along all axes."""

    MARGIN = 0.05
    """Beside the template's longest side: room for what lies above the skin."""

    def __init__(self, vertices: Float[Tensor, "V 3"]):
        low, high = vertices.amin(0), vertices.amax(0)
        self._center, self._scale = (low + high) / 2, (1 - 2 * self.MARGIN) / (high - low).max()

    def __call__(self, points: Float[Tensor, "K 3"]) -> Float[Tensor, "K 3"]:
        """What lies outside is put on the cube's side."""
        return ((points - self._center) * self._scale + 0.5).clamp(0, 1)


class SkinningField(torch.nn.Module):
    """W = softmax(log W_template + F_w(H(mu'))), which starts at the template's weights; the paper starts from none."""

    def __init__(self, cube: UnitCube, num_joints: int, grid: GridConfig, generator: torch.Generator):
        super().__init__()
        self._cube, self._config = cube, grid
        self.table = torch.nn.Parameter(initial_table(grid, generator))
        self.layers = Layers((FEATURES * grid.levels, *_HIDDEN, num_joints), 0, num_joints, generator)

    def forward(self, points: Float[Tensor, "K 3"], template: Float[Tensor, "K J"]) -> Float[Tensor, "K J"]:
        """Weights at points of the rest pose [m] where the template has those given; rows sum to 1."""
        encoding = encoded_reference(self.table, self._cube(points), self._config)
        return torch.softmax(template.clamp_min(_SMALLEST).log() + self.layers(encoding).T, -1)

    def loss(
        self, surface: TemplateSurface, count: int, generator: torch.Generator
    ) -> Float[Tensor, ""]:  # fmt: skip
        """L_skin: mean squared distance to the template's weights at points sampled on its surface."""
        points, weights = surface.sampled(count, generator)
        return (self(points, weights) - weights).square().sum(-1).mean()
