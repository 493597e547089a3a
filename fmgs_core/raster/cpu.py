"""The rasterizer on a CPU: numba kernels joined to torch autograd. Meaning and limits are those of `rasterize`."""

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from fmgs_core.raster.compositing import SUMS, backward_tile, backward_tile_features, forward_tile, unfold_sums
from fmgs_core.raster.images import read_tile_gradients, write_tile
from fmgs_core.raster.projection import COLUMNS, Z, project
from fmgs_core.raster.tiles import TILE, Tiling, tile_splats
from fmgs_core.types import Camera, Channel, Rendering, Splats

_PIXELS = TILE * TILE

# Every worker has gradient buffers of its own, as many floats per splat as it has features plus 16, and their sum is
# serial in the number of workers: more of them stop paying.
_MAX_WORKERS = 16


def rasterize_cpu(splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> Rendering:
    """`rasterize` by numba; see there.

    Raises:
        ValueError: splats that are not float32 on the CPU.
    """
    if splats.means.dtype != torch.float32 or splats.means.device.type != "cpu":
        raise ValueError(f"Splats: backend 'cpu' expected float32 on cpu, got {splats.means.dtype} on {splats.means.device}")
    absent = splats.means.new_zeros((len(splats.means), 0))
    colors = splats.colors if Channel.RGB in channels else absent
    logits = splats.logits if Channel.LOGITS in channels and splats.logits is not None else absent
    rows, normals, bounds = project(splats, camera, (colors, logits), cull_backfaces)
    normals = normals if Channel.NORMAL in channels else absent
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (rows, colors, normals, logits))
    size, with_depth = (camera.height, camera.width), Channel.DEPTH in channels
    alpha, *rest = _Composite.apply(rows, colors, normals, logits, bounds, size, with_depth, differentiable)
    return Rendering(alpha, **dict(zip(("rgb", "depth", "normal", "logits"), rest, strict=True)))


@dataclass(frozen=True)
class _Drawn:
    """What the backward pass needs of the forward pass, in sorted order."""

    tiling: Tiling
    rows: np.ndarray
    bounds: np.ndarray
    features: np.ndarray  # (V, colours + normals + logits)
    widths: tuple[int, int, int, int]  # colours, normals, logits, depths
    size: tuple[int, int]
    needed: np.ndarray  # (tiles,) end of the members that contributed
    transmittance: np.ndarray  # (tiles, 256)
    last: np.ndarray  # (tiles, 256)
    normal_length: np.ndarray  # (h, w)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, colors, normals, logits, bounds, size, with_depth, differentiable):
        ctx.set_materialize_grads(False)
        images, drawn = _draw(*(_array(t) for t in (rows, colors, normals, logits, bounds)), size, with_depth)
        outputs = [None if image is None else torch.from_numpy(image) for image in images]
        if differentiable:
            ctx.drawn, ctx.count = drawn, len(rows)
            ctx.save_for_backward(outputs[2], outputs[3])
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        depth, normal = ctx.saved_tensors
        geometry, *features = ctx.needs_input_grad[:4]
        # needs_input_grad knows what may get a gradient, not what this call of autograd.grad asks for; the engine does. Its
        # answer (also used by torch's register_multi_grad_hook) is for inner nodes, and the projection is one.
        geometry = geometry and torch._C._will_engine_execute_node(ctx.next_functions[0][0])
        grad_rows, grad_features = _draw_backward(ctx.drawn, grads, (depth, normal), geometry)
        spread = [
            _spread(g, ctx.drawn.tiling.order, ctx.count, needed) for g, needed in zip(grad_features, features, strict=True)
        ]
        return _spread(grad_rows, ctx.drawn.tiling.order, ctx.count, geometry), *spread, None, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _spread(sorted_grad: np.ndarray | None, order: np.ndarray, count: int, needed: bool) -> Tensor | None:
    """From sorted visible splats back to all of the caller's."""
    if sorted_grad is None or not needed:
        return None
    grad = np.zeros((count, sorted_grad.shape[1]), np.float32)
    grad[order] = sorted_grad
    return torch.from_numpy(grad)


def _draw(rows, colors, normals, logits, bounds, size, with_depth):
    height, width = size
    tiling = tile_splats(bounds, rows[:, Z].copy(), width, height, min(numba.get_num_threads(), _MAX_WORKERS))
    order, tiles = tiling.order, len(tiling.starts) - 1
    features = np.concatenate([colors[order], normals[order], logits[order]], 1)
    widths = (colors.shape[1], normals.shape[1], logits.shape[1], int(with_depth))
    alpha, rgb = np.zeros(size, np.float32), np.zeros((*size, widths[0]), np.float32)
    depth = np.full(size if with_depth else (0, 0), np.nan, np.float32)
    normal, logits = np.zeros((*size, widths[1]), np.float32), np.zeros((*size, widths[2]), np.float32)
    drawn = _Drawn(
        tiling, rows[order], bounds[order], features, widths, size,
        np.zeros(tiles, np.int32), np.empty((tiles, _PIXELS), np.float32), np.empty((tiles, _PIXELS), np.float32),
        np.empty(size if widths[1] else (0, 0), np.float32),
    )  # fmt: skip
    scratch = _scratch(len(tiling.shares) - 1, sum(widths) * _PIXELS)
    _forward(
        drawn.rows, drawn.bounds, features, tiling.members, tiling.starts, tiling.worklist, tiling.shares, tiling.columns,
        widths, scratch, drawn.needed, drawn.transmittance, drawn.last, alpha, rgb, depth, normal, logits, drawn.normal_length,
    )  # fmt: skip
    images = (alpha, rgb if widths[0] else None, depth if with_depth else None, normal if widths[1] else None)
    return (*images, logits if widths[2] else None), drawn


def _scratch(workers: int, floats: int) -> np.ndarray:
    """One cache-line-aligned row per worker (an unaligned 64-byte row would straddle two lines at every access)."""
    return torch.empty((workers, max(floats, 1) + -floats % 16), dtype=torch.float32).numpy()


def _draw_backward(drawn, grads, saved, geometry):
    height, width = drawn.size
    grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits = grads
    present = (grad_rgb is not None, grad_normal is not None, grad_logits is not None, grad_depth is not None)
    widths = tuple(w if p else 0 for w, p in zip(drawn.widths, present, strict=True))
    columns = np.repeat(present[:3], drawn.widths[:3])
    features = drawn.features if columns.all() else np.ascontiguousarray(drawn.features[:, columns])
    empty = np.zeros((1, 1, 1), np.float32)
    pictures = [empty if g is None else _array(g) for g in (grad_rgb, grad_normal, grad_logits)]
    flat = [empty[0] if g is None else _array(g) for g in (grad_alpha, grad_depth)]
    depth = _array(saved[0]) if present[3] else np.zeros((height, width), np.float32)
    normal = _array(saved[1]) if present[1] else empty
    tiling = drawn.tiling
    workers, count = len(tiling.shares) - 1, len(tiling.order)
    row_sums = np.zeros((workers, count if geometry else 0, SUMS), np.float32)
    feature_sums = np.zeros((workers, count, features.shape[1]), np.float32)
    _backward(
        drawn.rows, drawn.bounds, features, tiling.members, tiling.starts, tiling.worklist, tiling.shares, tiling.columns,
        widths, geometry, _scratch(workers, (sum(widths) + 3) * _PIXELS), drawn.needed, drawn.transmittance, drawn.last,
        grad_alpha is not None, flat[0], pictures[0], flat[1], pictures[1], pictures[2], depth, normal, drawn.normal_length,
        row_sums, feature_sums,
    )  # fmt: skip
    grad_rows = np.zeros((count if geometry else 0, COLUMNS), np.float32)
    grad_features = np.zeros((count, features.shape[1]), np.float32)
    _sum_workers(drawn.rows, row_sums, feature_sums, grad_rows, grad_features)
    parts = np.split(grad_features, np.cumsum(widths[:2]), axis=1)
    return grad_rows, [part if p else None for part, p in zip(parts, present[:3], strict=True)]


@njit(cache=True, nogil=True, parallel=True)
def _forward(
    rows, bounds, features, members, starts, worklist, shares, columns,
    widths, scratch, needed, transmittance, last, alpha, rgb, depth, normal, logits, normal_length,
):  # fmt: skip
    for worker in prange(len(shares) - 1):
        for tile in worklist[shares[worker] : shares[worker + 1]]:
            x0, y0 = tile % columns * TILE, tile // columns * TILE
            needed[tile] = forward_tile(
                rows, bounds, features, members, starts[tile], starts[tile + 1], x0, y0, widths[3] > 0,
                transmittance[tile], last[tile], scratch[worker],
            )  # fmt: skip
            write_tile(x0, y0, transmittance[tile], scratch[worker], widths, alpha, rgb, depth, normal, logits, normal_length)


@njit(cache=True, nogil=True, parallel=True)
def _backward(
    rows, bounds, features, members, starts, worklist, shares, columns, widths, geometry, scratch, needed, transmittance, last,
    has_alpha, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits, depth, normal, normal_length, row_sums, feature_sums,
):  # fmt: skip
    for worker in prange(len(shares) - 1):
        behind = scratch[worker, : TILE * TILE]
        remaining = scratch[worker, TILE * TILE : 2 * TILE * TILE]
        weights = scratch[worker, 2 * TILE * TILE : 3 * TILE * TILE]
        grad_blended = scratch[worker, 3 * TILE * TILE :]
        for tile in worklist[shares[worker] : shares[worker + 1]]:
            x0, y0 = tile % columns * TILE, tile // columns * TILE
            read_tile_gradients(
                x0, y0, transmittance[tile], widths, has_alpha, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits,
                depth, normal, normal_length, grad_blended, behind,
            )  # fmt: skip
            if geometry:
                remaining[:] = transmittance[tile]
                backward_tile(
                    rows, bounds, features, members, starts[tile], needed[tile], x0, y0, widths[3] > 0,
                    remaining, last[tile], grad_blended, behind, weights, row_sums[worker], feature_sums[worker],
                )  # fmt: skip
            else:
                backward_tile_features(
                    rows, bounds, features, members, starts[tile], needed[tile], x0, y0,
                    remaining, last[tile], grad_blended, weights, feature_sums[worker],
                )  # fmt: skip


@njit(cache=True, nogil=True, parallel=True)
def _sum_workers(rows, row_sums, feature_sums, grad_rows, grad_features):
    for i in prange(len(grad_features)):
        for worker in range(len(feature_sums)):
            for c in range(grad_features.shape[1]):
                grad_features[i, c] += feature_sums[worker, i, c]
        if len(grad_rows):
            sums = row_sums[0, i]
            for worker in range(1, len(row_sums)):
                for c in range(SUMS):
                    sums[c] += row_sums[worker, i, c]
            unfold_sums(rows, sums, i, grad_rows[i])
