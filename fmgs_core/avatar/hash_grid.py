"""Multiresolution hash encoding (Mueller et al., Instant-NGP, 2022) of points that never move.

Which rows of the table a point mixes, and how, are then constants: the encoding is one sparse product with the table, and its
gradient the transposed product. On a CPU by kernels (hash_kernels.py), elsewhere by torch's embedding_bag; `encoded_reference`
is the readable twin of both.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

FEATURES = 2
"""Numbers per row of a table; the kernels count on it."""

_PRIMES = (1, 2654435761, 805459861)  # Instant-NGP eq. 4
_INITIAL = 1e-4  # Instant-NGP sec. 4: features start uniform within this


@dataclass(frozen=True)
class GridConfig:
    """Sizes as in 3DGS-Avatar."""

    levels: int = 16
    log2_table: int = 16
    """Rows per level at most; coarse levels that have fewer corners are stored without hashing."""
    coarsest: int = 16
    """Cells along each axis of the unit cube at the first level."""
    finest: int = 2048
    """And at the last; geometric in between."""

    def __post_init__(self):
        # A row within its level is kept in 16 bits: the kernels are as fast as they read.
        for name, low, high in (("levels", 1, 64), ("log2_table", 1, 16), ("coarsest", 1, self.finest)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"GridConfig.{name}: expected {low} to {high}, got {getattr(self, name)}")

    @property
    def width(self) -> int:
        """Features per point."""
        return FEATURES * self.levels

    @property
    def resolutions(self) -> list[int]:
        growth = (self.finest / self.coarsest) ** (1 / max(self.levels - 1, 1))
        return [int(self.coarsest * growth**level + 1e-9) for level in range(self.levels)]

    @property
    def level_starts(self) -> list[int]:
        """First row of each level, and the number of rows."""
        rows = [min((n + 1) ** 3, 2**self.log2_table) for n in self.resolutions]
        return [0, *np.cumsum(rows).tolist()]


@dataclass(frozen=True)
class HashLookup:
    """The constants of K points."""

    rows: Integer[Tensor, "L K 8"]
    """uint16 on a CPU, else int32. Row within its level of each of the cell's corners; bit 0 of a corner is x, bit 2 is z."""
    fractions: Float[Tensor, "L 3 K"]
    """Where in its cell a point lies, in [0, 1]; the corners' weights are products of these."""
    level_starts: tuple[int, ...]

    @staticmethod
    def of(points: Float[Tensor, "K 3"], config: GridConfig) -> "HashLookup":
        """Lookup of points in the unit cube.

        Raises:
            ValueError: a point outside of it.
        """
        if not bool(((points >= 0) & (points <= 1)).all()):
            raise ValueError(f"points: expected all in the unit cube, got {points.min():.3g} to {points.max():.3g}")
        cells = [_cells(points, config, level) for level in range(config.levels)]
        dtype = torch.uint16 if points.device.type == "cpu" else torch.int32
        rows = torch.stack([rows for rows, _ in cells]).to(dtype)
        return HashLookup(rows, torch.stack([f.T for _, f in cells]).contiguous(), tuple(config.level_starts))

    @property
    def weights(self) -> Float[Tensor, "L K 8"]:
        return _corner_weights(self.fractions.mT)

    @cached_property
    def bags(self) -> tuple[Int[Tensor, "N 8"], Float[Tensor, "N 8"]]:
        """Rows of the whole table and their weights: what torch's kernels want, in twice the memory."""
        starts = torch.tensor(self.level_starts[:-1], dtype=torch.int32, device=self.rows.device)
        return (self.rows.to(torch.int32) + starts[:, None, None]).flatten(0, 1), self.weights.flatten(0, 1)


def _cells(points: Float[Tensor, "K 3"], config: GridConfig, level: int) -> tuple[Int[Tensor, "K 8"], Float[Tensor, "K 3"]]:
    """Rows within the level of the corners of each point's cell, and where in it the point lies."""
    n = config.resolutions[level]
    scaled = points * n
    cell = scaled.detach().floor().long().clamp(0, n - 1)
    corners = cell[:, None] + _CORNERS.to(points.device)
    x, y, z = corners.unbind(-1)
    if (n + 1) ** 3 <= 2**config.log2_table:
        rows = x + (n + 1) * (y + (n + 1) * z)
    else:
        rows = (x * _PRIMES[0] ^ y * _PRIMES[1] ^ z * _PRIMES[2]) & (2**config.log2_table - 1)
    return rows, scaled - cell


_CORNERS = torch.tensor([[corner & 1, corner >> 1 & 1, corner >> 2] for corner in range(8)])


def _corner_weights(fractions: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 8"]:
    inside = torch.where(_CORNERS.to(fractions.device).bool(), fractions[..., None, :], 1 - fractions[..., None, :])
    return inside.prod(-1)


def encoded_reference(
    table: Float[Tensor, "R 2"], points: Float[Tensor, "K 3"], config: GridConfig
) -> Float[Tensor, "width K"]:
    """Encoding of any points in the unit cube in readable torch, differentiable in the points too."""
    levels = []
    for level, start in enumerate(config.level_starts[:-1]):
        rows, fractions = _cells(points, config, level)
        levels.append((table[start + rows] * _corner_weights(fractions)[..., None]).sum(-2).T)
    return torch.cat(levels)


def encoded(table: Float[Tensor, "R 2"], lookup: HashLookup) -> Float[Tensor, "width K"]:
    """Encoding of the lookup's points, differentiable in the table. Rows are features, so that what comes after works along
    the points."""
    if table.device.type != "cpu":
        return encoded_by_bags(table, lookup)
    from fmgs_core.avatar.hash_kernels import EncodedPoints

    return EncodedPoints.apply(table, lookup.rows, lookup.fractions, lookup.level_starts)  # type: ignore[no-any-return]


def encoded_by_bags(table: Float[Tensor, "R 2"], lookup: HashLookup) -> Float[Tensor, "width K"]:
    """The same by torch's own kernels, on any device: eight rows of the table are a bag."""
    rows, weights = lookup.bags
    bags = torch.nn.functional.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
    return bags.view(*lookup.rows.shape[:2], FEATURES).transpose(1, 2).flatten(0, 1)


def initial_table(config: GridConfig, generator: torch.Generator) -> Float[Tensor, "R 2"]:
    return _INITIAL * (2 * torch.rand(config.level_starts[-1], FEATURES, generator=generator) - 1)


class HashGrid(torch.nn.Module):
    """A learnable table under constant points.

    Args:
        points: K points in the unit cube.
    """

    def __init__(self, points: Float[Tensor, "K 3"], config: GridConfig, generator: torch.Generator):
        super().__init__()
        self.config, self.lookup = config, HashLookup.of(points, config)
        self.table = torch.nn.Parameter(initial_table(config, generator).to(points.device))

    def forward(self) -> Float[Tensor, "width K"]:
        return encoded(self.table, self.lookup)
