"""The rasterizer's stages on numpy arrays, in the order in which they run; cpu.py joins them to autograd.

Every pair of tile and splat has a row of its own for what the backward pass sums over pixels. Threads take tiles as they come
and never write to the same place, and each splat's pairs are added in one order: results do not depend on the threads.
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int32
from numba import get_num_threads, prange

from fmgs_core.raster.compositing import (
    BLOCKS,
    backward_tile,
    backward_tile_features,
    first_feature_sum,
    forward_tile,
    last_contributors,
    unfold_sums,
)
from fmgs_core.raster.images import padded, read_tile_gradients, write_tile
from fmgs_core.raster.kernel import kernel_part, parallel_kernel
from fmgs_core.raster.projection import COLUMNS, NX, project, project_backward, range_of_batch, view_of
from fmgs_core.raster.simd import LANES, load, store, take_next
from fmgs_core.raster.tiles import TILE, Tiling, tile_splats
from fmgs_core.types import Camera

Array = Float32[np.ndarray, "..."]
Geometry = tuple[Float32[np.ndarray, "N 3"], Float32[np.ndarray, "N 4"], Float32[np.ndarray, "N 2"], Float32[np.ndarray, " N"]]
"""Means, quats, scales and opacities, C-contiguous."""

_PIXELS = TILE * TILE
_BATCH = 256
_EMPTY = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Screen:
    """Splats as one camera sees them. Rows, depths and features of splats that are not seen are arbitrary."""

    view: Float32[np.ndarray, "20"]
    size: tuple[int, int]
    """Height and width of the picture [px]."""
    widths: tuple[int, int, int, int]
    """Channels of colours, normals, logits and depth that are drawn."""
    rows: Float32[np.ndarray, "N 16"]
    """As projection.py says."""
    bounds: Int32[np.ndarray, "N 4"]
    depths: Float32[np.ndarray, " N"]
    features: Float32[np.ndarray, "N F"]


@dataclass(frozen=True)
class Drawn:
    """What the backward pass needs of the forward pass; but for the two pictures by occupied tile and pixel."""

    depth: Float32[np.ndarray, "h w"]
    normal: Float32[np.ndarray, "h w 3"]
    """The pictures; empty when not drawn."""
    needed: Int32[np.ndarray, " occupied"]
    """End of the members that contributed."""
    transmittance: Float32[np.ndarray, "occupied 256"]
    last: Float32[np.ndarray, "occupied 256"]
    inverse_length: Float32[np.ndarray, "occupied L"]
    """Of the blended normal; L is 256, or 0 when normals are not drawn."""


@dataclass(frozen=True)
class PixelSums:
    """What the pixels leave for every pair of tile and splat. Lies in memory that the thread's next backward pass uses."""

    values: Float32[np.ndarray, "pairs S"]
    geometry: bool
    """Whether the sums of the splats' rows precede those of the features."""
    widths: tuple[int, int, int, int]
    """Channels whose pictures had a gradient, as in `Screen.widths`."""


def put_on_screen(
    splats: Geometry, colors: Array, logits: Array, camera: Camera,
    with_normals: bool, with_depth: bool, cull_backfaces: bool,
) -> Screen:  # fmt: skip
    """Colours and logits have no columns where they are not drawn."""
    n, widths = len(colors), (int(colors.shape[1]), 3 * with_normals, int(logits.shape[1]), int(with_depth))
    screen = Screen(
        view_of(camera), (camera.height, camera.width), widths, np.empty((n, COLUMNS), np.float32),
        np.empty((n, 4), np.int32), np.empty(n, np.float32), np.empty((n, sum(_padded(widths))), np.float32),
    )  # fmt: skip
    project(
        *splats, colors, logits, screen.view, cull_backfaces, with_normals, get_num_threads(), _counter(),
        screen.rows, screen.bounds, screen.depths, screen.features,
    )  # fmt: skip
    return screen


def tile_screen(screen: Screen) -> Tiling:
    """Which splats touch which tile."""
    return tile_splats(screen.bounds, screen.depths, screen.size[1], screen.size[0])


def composite(screen: Screen, tiling: Tiling) -> tuple[list[Array], Drawn]:
    """Pictures of alpha, colours, depth, normals and logits; those not drawn are empty."""
    (n_rgb, n_normal, n_logits, n_depth), size, occupied = screen.widths, screen.size, len(tiling.occupied)
    alpha, rgb, normal, logits = (np.zeros((*size, *w), np.float32) for w in ((), (n_rgb,), (n_normal,), (n_logits,)))
    depth = np.full(size if n_depth else (0, 0), np.nan, np.float32)
    pictures = [alpha, rgb, depth, normal, logits]
    drawn = Drawn(
        depth, normal, np.empty(occupied, np.int32), _aligned(occupied, _PIXELS),
        _aligned(occupied, _PIXELS), _aligned(occupied, _PIXELS if n_normal else 0),
    )  # fmt: skip
    scratch = _memory.rows("blended", get_num_threads(), (screen.features.shape[1] + 1) * _PIXELS)
    _composite(
        screen.rows, screen.bounds, screen.features, tiling.members, tiling.starts, tiling.occupied, tiling.columns, size,
        screen.widths, _counter(), scratch, drawn.needed, drawn.transmittance, drawn.last, drawn.inverse_length,
        *(picture.reshape(-1) for picture in pictures),
    )  # fmt: skip
    return pictures, drawn


def composite_backward(screen: Screen, tiling: Tiling, drawn: Drawn, grads: list[Array | None], geometry: bool) -> PixelSums:
    """`grads`: of the pictures, in their order. Without `geometry` for the features alone."""
    alpha, rgb, depth, normal, logits = (_EMPTY if g is None else g.reshape(-1) for g in grads)
    given = (rgb, normal, logits, depth)
    a, b, c, d = (w if len(g) else 0 for w, g in zip(screen.widths, given, strict=True))
    widths = (a, b, c, d)
    features = _columns_of(screen.features, screen.widths, widths)
    F = features.shape[1]
    # Rows of whole cache lines, which SIMD rows can be summed from.
    stride = -(-(first_feature_sum.py_func(geometry, widths) + F) // LANES) * LANES
    sums = PixelSums(_memory.rows("sums", len(tiling.members), stride), geometry, widths)
    scratch = _memory.rows("gradients", get_num_threads(), (F + 4) * _PIXELS)
    _composite_backward(
        screen.rows, screen.bounds, features, tiling.members, tiling.starts, tiling.occupied, tiling.columns, screen.size,
        widths, geometry, _counter(), scratch, drawn.needed, drawn.transmittance, drawn.last, drawn.inverse_length,
        alpha, rgb, depth, normal, logits, drawn.depth.reshape(-1), drawn.normal.reshape(-1), sums.values,
    )  # fmt: skip
    return sums


def sum_pairs(screen: Screen, tiling: Tiling, sums: PixelSums) -> tuple[Array, Array, Array]:
    """Gradients of the rows of what is seen, of colours and logits; empty for those that have none."""
    n = len(screen.rows)
    rows = np.empty((len(tiling.seen) if sums.geometry else 0, COLUMNS), np.float32)
    colors, logits = (np.empty((n if w else 0, w), np.float32) for w in (sums.widths[0], sums.widths[2]))
    _sum_pairs(
        screen.rows, tiling.seen, tiling.pair_starts, tiling.pairs, sums.values, sums.geometry, sums.widths,
        get_num_threads(), _counter(), rows, colors, logits,
    )  # fmt: skip
    return rows, colors, logits


def splats_backward(splats: Geometry, screen: Screen, tiling: Tiling, grad_rows: Array) -> Geometry:
    """Gradients of the splats from those of the rows of what is seen."""
    means, quats, scales, opacities = (np.empty_like(values) for values in splats)
    workers = get_num_threads()
    project_backward(*splats, screen.view, tiling.seen, workers, _counter(), grad_rows, means, quats, scales, opacities)
    return means, quats, scales, opacities


def _padded(widths: tuple[int, ...]) -> list[int]:
    """Columns of colours, normals and logits among the features."""
    return [padded.py_func(width) for width in widths[:3]]


def _columns_of(features: Array, widths: tuple[int, ...], kept: tuple[int, ...]) -> Array:
    """The columns of those channels that are kept."""
    if widths[:3] == kept[:3]:
        return features
    ends = np.cumsum(_padded(widths))
    parts = [features[:, end - width : end] for end, width in zip(ends, _padded(widths), strict=True)]
    return np.concatenate([features[:, :0], *(part for part, width in zip(parts, kept, strict=False) if width)], 1)


def _counter() -> np.ndarray:
    """What threads take their work from."""
    return np.zeros(1, np.int64)


def _aligned(rows: int, columns: int) -> Array:
    """Unset, aligned as torch does: a SIMD row that straddles cache lines costs twice."""
    return torch.empty((rows, columns), dtype=torch.float32).numpy()


class _Memory(threading.local):
    """Buffers that are used within one call and kept for the thread's next: fresh pages cost more than some of the work."""

    def __init__(self):
        self.buffers: dict[str, Array] = {}

    def rows(self, name: str, rows: int, columns: int) -> Array:
        """Unset. Rows are aligned where `columns` is a multiple of sixteen."""
        size = rows * columns
        if name not in self.buffers or self.buffers[name].size < size:
            self.buffers[name] = _aligned(1, size)[0]
        return self.buffers[name][:size].reshape(rows, columns)


_memory = _Memory()


@parallel_kernel
def _composite(
    rows, bounds, features, members, starts, occupied, columns, size, widths, counter, scratch,
    needed, transmittance, last, inverse_length, alpha, rgb, depth, normal, logits,
):  # fmt: skip
    for worker in prange(len(scratch)):
        blended = scratch[worker]
        k = take_next(counter)
        while k < len(occupied):
            tile = occupied[k]
            x0, y0 = tile % columns * TILE, tile // columns * TILE
            needed[k] = forward_tile(
                rows, bounds, features, members, starts[tile], starts[tile + 1], x0, y0, widths[3] > 0,
                transmittance[k], last[k], blended,
            )  # fmt: skip
            write_tile(x0, y0, size, transmittance[k], blended, widths, alpha, rgb, depth, normal, logits, inverse_length[k])
            k = take_next(counter)


@parallel_kernel
def _composite_backward(
    rows, bounds, features, members, starts, occupied, columns, size, widths, geometry, counter, scratch, needed,
    transmittance, last, inverse_length, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits, depth, normal, sums,
):  # fmt: skip
    for worker in prange(len(scratch)):
        behind, remaining = scratch[worker, :_PIXELS], scratch[worker, _PIXELS : 2 * _PIXELS]
        weights, grad_blended = scratch[worker, 2 * _PIXELS : 3 * _PIXELS], scratch[worker, 3 * _PIXELS :]
        last_of_block, touched = np.empty(BLOCKS, np.float32), np.empty(BLOCKS, np.int32)
        k = take_next(counter)
        while k < len(occupied):
            tile = occupied[k]
            x0, y0 = tile % columns * TILE, tile // columns * TILE
            begin, end = starts[tile], needed[k]
            read_tile_gradients(
                x0, y0, size, transmittance[k], widths, len(grad_alpha) > 0, grad_alpha, grad_rgb, grad_depth, grad_normal,
                grad_logits, depth, normal, inverse_length[k], grad_blended, behind,
            )  # fmt: skip
            last_contributors(last[k], last_of_block)
            if geometry:
                remaining[:] = transmittance[k]
                backward_tile(
                    rows, bounds, features, members, begin, end, x0, y0, widths, remaining, last[k], last_of_block,
                    grad_blended, behind, weights, touched, sums,
                )  # fmt: skip
            else:
                backward_tile_features(
                    rows, bounds, members, begin, end, x0, y0, features.shape[1], widths[3] > 0, remaining, last[k],
                    last_of_block, grad_blended, weights, touched, sums,
                )  # fmt: skip
            sums[end : starts[tile + 1]] = 0
            k = take_next(counter)


@parallel_kernel
def _sum_pairs(rows, seen, pair_starts, pairs, sums, geometry, widths, workers, counter, grad_rows, grad_colors, grad_logits):
    n_rgb, n_normal, n_logits, _ = widths
    at_colors = first_feature_sum(geometry, widths)
    at_normal = at_colors + padded(n_rgb)
    at_logits = at_normal + padded(n_normal)
    for _ in prange(workers):
        total = np.empty(sums.shape[1], np.float32)
        batch = take_next(counter)
        while batch * _BATCH < max(len(seen), 1):
            low, high = range_of_batch(seen, batch, _BATCH, len(rows))
            grad_colors[low:high], grad_logits[low:high] = 0, 0
            for k in range(batch * _BATCH, min((batch + 1) * _BATCH, len(seen))):
                i = np.uint32(seen[k])
                _sum_rows(sums, pairs, pair_starts[i], pair_starts[i + 1], total)
                if geometry:
                    unfold_sums(rows, total, i, grad_rows[k])
                    for c in range(3):
                        grad_rows[k, NX + c] = total[at_normal + c] if n_normal else 0
                for c in range(n_rgb):
                    grad_colors[i, c] = total[at_colors + c]
                for c in range(n_logits):
                    grad_logits[i, c] = total[at_logits + c]
            batch = take_next(counter)


@kernel_part
def _sum_rows(sums, pairs, begin, end, total):
    stride = sums.shape[1]
    for c in range(0, stride, LANES):
        row = load(sums, pairs[begin] * stride + c)
        for p in range(begin + 1, end):
            row += load(sums, pairs[p] * stride + c)
        store(total, c, row)
