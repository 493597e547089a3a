"""Which splats touch which 16 x 16 tile, front to back, and which worker owns which tile."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from fmgs_core.raster.kernel import kernel
from fmgs_core.raster.simd import LANES

TILE = LANES
"""Tile edge [px]; a tile row is one SIMD row."""


@dataclass(frozen=True)
class Tiling:
    """Splats sorted by depth and dealt to tiles; `order` maps sorted positions back to the caller's splats."""

    order: Int32[np.ndarray, " V"]
    """Indices of the splats inside the picture, front to back."""
    starts: Int32[np.ndarray, " tiles_plus_1"]
    """Range of each tile in `members`; tiles are row-major."""
    members: Int32[np.ndarray, " pairs"]
    """Positions in `order`, ascending within a tile."""
    worklist: Int32[np.ndarray, " occupied"]
    """Tiles that have members, grouped by the worker that owns them."""
    shares: Int32[np.ndarray, " workers_plus_1"]
    """Range of each worker in `worklist`."""
    columns: int
    """Tiles in a row of the picture."""


def tile_splats(
    bounds: Int32[np.ndarray, "N 4"], depth: Float32[np.ndarray, " N"], width: int, height: int, workers: int
) -> Tiling:
    """Bounds are x0, x1, y0, y1 [px], end exclusive, inside the picture; empty ones are left out."""
    columns, rows = -(-width // TILE), -(-height // TILE)
    order = _depth_order(bounds, depth)
    starts = _tile_starts(bounds, order, columns, columns * rows)
    members = _tile_members(bounds, order, columns, starts)
    worklist, shares = _deal(np.diff(starts), workers)
    return Tiling(order, starts, members, worklist, shares, columns)


@kernel
def _depth_order(bounds, depth):
    """Stable radix sort of the visible splats: positive floats sort like their bits, 16 of them at a time."""
    visible = np.flatnonzero(bounds[:, 1] > bounds[:, 0]).astype(np.int32)
    keys = depth[visible].view(np.uint32)
    for shift in (np.uint32(0), np.uint32(11), np.uint32(22)):
        digits = (keys >> shift) & np.uint32(2047)
        places = np.zeros(2049, np.int64)
        for digit in digits:
            places[digit + 1] += 1
        places = np.cumsum(places)
        sorted_visible, sorted_keys = np.empty_like(visible), np.empty_like(keys)
        for i in range(len(visible)):
            place = places[digits[i]]
            sorted_visible[place], sorted_keys[place] = visible[i], keys[i]
            places[digits[i]] = place + 1
        visible, keys = sorted_visible, sorted_keys
    return visible


@kernel
def _tile_starts(bounds, order, columns, tiles):
    counts = np.zeros(tiles + 1, np.int32)
    for i in order:
        for row in range(bounds[i, 2] // TILE, (bounds[i, 3] - 1) // TILE + 1):
            for column in range(bounds[i, 0] // TILE, (bounds[i, 1] - 1) // TILE + 1):
                counts[row * columns + column + 1] += 1
    for tile in range(tiles):
        counts[tile + 1] += counts[tile]
    return counts


@kernel
def _tile_members(bounds, order, columns, starts):
    members = np.empty(starts[-1], np.int32)
    ends = starts.copy()
    for position in range(len(order)):
        i = order[position]
        for row in range(bounds[i, 2] // TILE, (bounds[i, 3] - 1) // TILE + 1):
            for column in range(bounds[i, 0] // TILE, (bounds[i, 1] - 1) // TILE + 1):
                tile = row * columns + column
                members[ends[tile]] = position
                ends[tile] += 1
    return members


def _deal(counts: Int32[np.ndarray, " tiles"], workers: int) -> tuple[Int32[np.ndarray, " occupied"], Int32[np.ndarray, "..."]]:
    """Tiles dealt by falling load, to and fro (0 1 2 2 1 0 0 ...): balanced, and the same on every run."""
    busiest = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].astype(np.int32)
    turn = np.arange(len(busiest)) % (2 * workers)
    owner = np.minimum(turn, 2 * workers - 1 - turn)
    # A worker takes its tiles in picture order: neighbours share splats, which are then still in its cache.
    worklist = busiest[np.lexsort((busiest, owner))]
    shares = np.searchsorted(np.sort(owner), np.arange(workers + 1)).astype(np.int32)
    return worklist, shares
