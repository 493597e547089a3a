"""Which splats touch which 16 x 16 tile, front to back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

from fmgs_core.raster.kernel import kernel, kernel_part

TILE = 16
"""Tile edge [px]: four blocks of four."""

_DIGIT = 2048


@dataclass(frozen=True)
class Tiling:
    """Splats sorted by depth and dealt to tiles."""

    seen: Int32[np.ndarray, " V"]
    """Indices of the splats inside the picture, ascending."""
    starts: Int32[np.ndarray, " tiles_plus_1"]
    """Range of each tile in `members`; tiles are row-major."""
    members: Int32[np.ndarray, " pairs"]
    """Indices of the splats that touch a tile, front to back within the tile."""
    pair_starts: Int32[np.ndarray, " N_plus_1"]
    """Range in `pairs` of each splat, seen or not."""
    pairs: Int32[np.ndarray, " pairs"]
    """Where in `members` a splat stands."""
    occupied: Int32[np.ndarray, " occupied"]
    """Tiles that have members."""
    columns: int
    """Tiles in a row of the picture."""


def tile_splats(bounds: Int32[np.ndarray, "N 4"], depths: Float32[np.ndarray, " N"], width: int, height: int) -> Tiling:
    """Bounds are x0, x1, y0, y1 [px], end exclusive, inside the picture; empty ones are left out. Depths are positive."""
    columns, rows = -(-width // TILE), -(-height // TILE)
    seen, starts, members, pair_starts, pairs, occupied = _tile(bounds, depths.view(np.uint32), columns, columns * rows)
    return Tiling(seen, starts, members, pair_starts, pairs, occupied, columns)


@kernel
def _tile(bounds, bits, columns, tiles):
    seen, order = _front_to_back(bounds, bits)
    starts, members, pair_starts, pairs = _dealt(bounds, seen, order, columns, tiles)
    return seen, starts, members, pair_starts, pairs, np.flatnonzero(starts[1:] > starts[:-1]).astype(np.int32)


@kernel_part
def _front_to_back(bounds, bits):
    """What is seen, ascending and by depth. Radix sort: positive floats sort like their bits, eleven at a time as far as
    they differ."""
    seen, keys = np.empty(len(bounds), np.int32), np.empty(len(bounds), np.uint32)
    least, most, count = np.uint32(0xFFFFFFFF), np.uint32(0), 0
    for i in range(len(bounds)):
        if bounds[i, 1] > bounds[i, 0]:
            key = bits[i]
            seen[count], keys[count] = i, key
            least, most, count = min(least, key), max(most, key), count + 1
    seen, keys = seen[:count].copy(), keys[:count]
    order, sorted_keys = seen, np.empty_like(keys)
    spare, other = np.empty_like(seen), np.empty_like(seen)
    places = np.empty(_DIGIT, np.int32)
    shift = np.uint32(0)
    while count and shift < 32 and (most - least) >> shift:
        places[:] = 0
        for k in range(count):
            places[((keys[k] - least) >> shift) & np.uint32(_DIGIT - 1)] += 1
        total = np.int32(0)
        for digit in range(_DIGIT):
            here = places[digit]
            places[digit] = total
            total += here
        for k in range(count):
            digit = ((keys[k] - least) >> shift) & np.uint32(_DIGIT - 1)
            place = places[digit]
            spare[place], sorted_keys[place] = order[k], keys[k]
            places[digit] = place + 1
        order, spare, other = spare, other, spare
        keys, sorted_keys = sorted_keys, keys
        shift += np.uint32(11)
    return seen, order


@kernel_part
def _dealt(bounds, seen, order, columns, tiles):
    # Unsigned indices: numba tests signed ones for being negative, here once per pair and more.
    starts, pair_starts = np.zeros(tiles + 1, np.int32), np.empty(len(bounds) + 1, np.int32)
    total, following = 0, 0
    for k in range(len(seen)):
        i = np.uint32(seen[k])
        pair_starts[following : i + 1] = total
        following = i + 1
        x0, x1, y0, y1 = _tiles_of(bounds, i)
        total += (x1 - x0) * (y1 - y0)
        for y in range(y0, y1):
            for x in range(x0, x1):
                starts[np.uint32(y * columns + x + 1)] += 1
    pair_starts[following:] = total
    for tile in range(tiles):
        starts[tile + 1] += starts[tile]
    members, pairs, ends = np.empty(total, np.int32), np.empty(total, np.int32), starts.astype(np.uint32)
    for k in range(len(order)):
        i = np.uint32(order[k])
        pair = np.uint32(pair_starts[i])
        x0, x1, y0, y1 = _tiles_of(bounds, i)
        for y in range(y0, y1):
            for x in range(x0, x1):
                tile = np.uint32(y * columns + x)
                place = ends[tile]
                ends[tile] = place + np.uint32(1)
                members[place], pairs[pair] = i, place
                pair += np.uint32(1)
    return starts, members, pair_starts, pairs


@kernel_part
def _tiles_of(bounds, i):
    return bounds[i, 0] >> 4, (bounds[i, 1] + 15) >> 4, bounds[i, 2] >> 4, (bounds[i, 3] + 15) >> 4
