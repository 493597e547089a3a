"""The paper's three fields over the template's faces, each a hash grid and a small network (FMGS-Avatar sec. 3.2).

They start at the template: no offset, no rotation, the face's own scale, mid-grey, no class.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.avatar.hash_grid import GridConfig, HashGrid
from fmgs_core.avatar.layers import Layers
from fmgs_core.avatar.pose_encoder import CODE

GEOMETRY_CODE = 16
"""Width of z_g."""

_HIDDEN = 64
_OFFSETS = 1 + 2 + 3  # dd, ds, dr
_FREQUENCIES = 4  # of the view direction, as in NeRF


@dataclass(frozen=True)
class GeometryOutput:
    """What F_g says of K faces."""

    normal_offset: Float[Tensor, " K"]
    log_scale: Float[Tensor, "K 2"]
    rotation: Float[Tensor, "K 3"]
    code: Float[Tensor, "16 K"]
    """z_g, which the appearance looks at."""


class GeometryField(torch.nn.Module):
    """(dd, ds, dr, z_g) = F_g(f_g, Z_p)."""

    def __init__(self, points: Float[Tensor, "K 3"], grid: GridConfig, generator: torch.Generator):
        super().__init__()
        self.grid = HashGrid(points, grid, generator)
        self.layers = Layers((grid.width, _HIDDEN, _OFFSETS + GEOMETRY_CODE), CODE, _OFFSETS, generator)

    def forward(self, pose_code: Float[Tensor, " 16"]) -> GeometryOutput:
        out = self.layers(self.grid(), pose_code)
        return GeometryOutput(out[0], out[1:3].T, out[3:6].T, out[6:])


class AppearanceField(torch.nn.Module):
    """c = sigmoid(F_c(f_c, z_g, Z_p, gamma(T^-1 d))), one hidden layer.

    Args:
        geometry_code: width of z_g; 0 where the geometry is not a field and has none.
    """

    def __init__(self, points: Float[Tensor, "K 3"], grid: GridConfig, geometry_code: int, generator: torch.Generator):
        super().__init__()
        self.grid = HashGrid(points, grid, generator)
        inputs = grid.width + geometry_code + 3 * (1 + 2 * _FREQUENCIES)
        self.layers = Layers((inputs, _HIDDEN, 3), CODE, 3, generator)

    def forward(
        self, geometry_code: Float[Tensor, "g K"] | None, pose_code: Float[Tensor, " 16"], directions: Float[Tensor, "K 3"]
    ) -> Float[Tensor, "K 3"]:
        """RGB in [0, 1]; `directions` are unit vectors from the camera to each face, in the template's rest pose."""
        known = [self.grid(), *([] if geometry_code is None else [geometry_code]), frequencies(directions.T)]
        return torch.sigmoid(self.layers(torch.cat(known), pose_code)).T


class SemanticField(torch.nn.Module):
    """l_s = F_s(f_s)."""

    def __init__(self, points: Float[Tensor, "K 3"], grid: GridConfig, num_classes: int, generator: torch.Generator):
        super().__init__()
        self.grid = HashGrid(points, grid, generator)
        self.layers = Layers((grid.width, _HIDDEN, num_classes), 0, num_classes, generator)

    def forward(self) -> Float[Tensor, "K C"]:
        return self.layers(self.grid()).T


@torch.no_grad()
def frequencies(directions: Float[Tensor, "3 K"]) -> Float[Tensor, "27 K"]:
    """gamma: the direction, and sine and cosine of it times powers of two. Poses are not learned through it."""
    scaled = [2.0**i * directions for i in range(_FREQUENCIES)]
    return torch.cat([directions, *(f(x) for x in scaled for f in (torch.sin, torch.cos))])
