"""The rasterizer on a CPU: numba kernels joined to torch autograd. Meaning and limits are those of `rasterize`."""

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numba import prange

from fmgs_core.raster.compositing import SUMS, backward_tile, backward_tile_features, forward_tile, unfold_sums
from fmgs_core.raster.images import read_tile_gradients, write_tile
from fmgs_core.raster.kernel import kernel, parallel_kernel
from fmgs_core.raster.projection import COLUMNS, Z, as_array, project
from fmgs_core.raster.tiles import TILE, Tiling, tile_splats
from fmgs_core.types import Camera, Channel, Rendering, Splats

_PIXELS = TILE * TILE

# Every worker has gradient buffers of its own, as many floats per splat as it has features plus 16, that are summed in a
# fixed order: with more of them the sum costs more than the tiles.
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
    rows, normals, bounds = project(splats, camera, colors, logits, cull_backfaces)
    normals = normals if Channel.NORMAL in channels else absent
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (rows, colors, normals, logits))
    size, with_depth = (camera.height, camera.width), Channel.DEPTH in channels
    alpha, *rest = _Composite.apply(rows, colors, normals, logits, bounds, size, with_depth, differentiable)
    return Rendering(alpha, **dict(zip(("rgb", "depth", "normal", "logits"), rest, strict=True)))


@dataclass(frozen=True)
class _Drawn:
    """What the backward pass needs of the forward pass."""

    tiling: Tiling
    rows: np.ndarray  # (V, 16) screen-space rows, sorted
    bounds: np.ndarray  # (V, 4) sorted
    size: tuple[int, int]  # height, width
    needed: np.ndarray  # (tiles,) end of the members that contributed
    transmittance: np.ndarray  # (tiles, 256)
    last: np.ndarray  # (tiles, 256)
    normal_length: np.ndarray  # (h, w)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, colors, normals, logits, bounds, size, with_depth, differentiable):
        ctx.set_materialize_grads(False)
        features = [as_array(t) for t in (colors, normals, logits)]
        images, drawn = _draw(as_array(rows), as_array(bounds), features, size, with_depth)
        alpha, rgb, normal, logits_image, depth = (torch.from_numpy(image) if image.size else None for image in images)
        if differentiable:
            ctx.drawn = drawn
            ctx.save_for_backward(colors, normals, logits, depth, normal)
        return alpha, rgb, depth, normal, logits_image

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits):
        colors, normals, logits, depth, normal = ctx.saved_tensors
        # needs_input_grad knows which inputs may need a gradient, not which this call of autograd.grad asks for; the engine
        # does, for inner nodes (torch.autograd.graph uses the same function), and the projection is one.
        geometry = ctx.needs_input_grad[0] and torch._C._will_engine_execute_node(ctx.next_functions[0][0])
        grads = [None if g is None else as_array(g) for g in (grad_rgb, grad_normal, grad_logits, grad_depth)]
        features = [as_array(t if g is not None else t[:, :0]) for t, g in zip((colors, normals, logits), grads, strict=False)]
        saved = [_EMPTY if t is None else as_array(t) for t in (depth, normal)]
        grad_inputs = _draw_backward(ctx.drawn, features, grad_alpha, grads, saved, geometry)
        wanted = zip(grad_inputs, ctx.needs_input_grad, strict=False)
        return *(torch.from_numpy(g) if need and g.size else None for g, need in wanted), None, None, None, None


_EMPTY = np.zeros((1, 1, 1), np.float32)


def _draw(rows, bounds, features, size, with_depth):
    """Pictures of alpha, colours, normals, logits and depth (those not asked for are empty), and the state to go back."""
    height, width = size
    tiling = tile_splats(bounds, rows[:, Z].copy(), width, height, min(numba.get_num_threads(), _MAX_WORKERS))
    tiles, widths = len(tiling.starts) - 1, (*(f.shape[1] for f in features), int(with_depth))
    alpha, rgb, normal, logits = (np.zeros(shape, np.float32) for shape in (size, *((*size, w) for w in widths[:3])))
    depth = np.full(size if with_depth else (0, 0), np.nan, np.float32)
    blendable = _sorted_features(tiling.order, features[0], features[1], features[2], widths)
    drawn = _Drawn(
        tiling, rows[tiling.order], bounds[tiling.order], size, np.zeros(tiles, np.int32),
        np.empty((tiles, _PIXELS), np.float32), np.empty((tiles, _PIXELS), np.float32),
        np.empty(size if widths[1] else (0, 0), np.float32),
    )  # fmt: skip
    _forward(
        drawn.rows, drawn.bounds, blendable, tiling.members, tiling.starts,
        tiling.worklist, tiling.shares, tiling.columns, widths, _scratch(tiling, sum(widths)), drawn.needed,
        drawn.transmittance, drawn.last, alpha, rgb, depth, normal, logits, drawn.normal_length,
    )  # fmt: skip
    return (alpha, rgb, normal, logits, depth), drawn


def _draw_backward(drawn, features, grad_alpha, grads, saved, geometry):
    """Gradients of the screen-space rows, colours, normals and logits; empty for those that have none."""
    tiling, count = drawn.tiling, len(features[0])
    present = [g is not None for g in grads]
    widths = (*(f.shape[1] for f in features), int(present[3]))
    blendable = _sorted_features(tiling.order, features[0], features[1], features[2], widths)
    workers, visible, floats = len(tiling.shares) - 1, len(tiling.order), sum(widths[:3])
    row_sums = np.zeros((workers, visible if geometry else 0, SUMS), np.float32)
    feature_sums = np.zeros((workers, visible, floats), np.float32)
    rgb, normal, logits = (_EMPTY if g is None else g for g in grads[:3])
    depth = np.zeros((1, 1), np.float32) if grads[3] is None else grads[3]
    alpha = np.zeros((1, 1), np.float32) if grad_alpha is None else as_array(grad_alpha)
    _backward(
        drawn.rows, drawn.bounds, blendable, tiling.members, tiling.starts,
        tiling.worklist, tiling.shares, tiling.columns, widths, geometry, _scratch(tiling, sum(widths) + 3), drawn.needed,
        drawn.transmittance, drawn.last, drawn.size, grad_alpha is not None, alpha, rgb, depth, normal, logits,
        saved[0].reshape(saved[0].shape[:2]), saved[1], drawn.normal_length, row_sums, feature_sums,
    )  # fmt: skip
    grad_inputs = [np.zeros((count, w), np.float32) for w in (COLUMNS if geometry else 0, *widths[:3])]
    _sum_workers(drawn.rows, tiling.order, row_sums, feature_sums, *grad_inputs)
    return grad_inputs


def _scratch(tiling: Tiling, quantities: int) -> np.ndarray:
    """Per worker `quantities` tile buffers, aligned as torch does: a row that straddles cache lines costs twice."""
    workers = len(tiling.shares) - 1
    return torch.empty((workers, max(quantities, 1) * _PIXELS), dtype=torch.float32).numpy()


@kernel
def _sorted_features(order, colors, normals, logits, widths):
    """Colours, normals and logits of the visible splats, side by side."""
    n_rgb, n_normal, n_logits, _ = widths
    result = np.empty((len(order), n_rgb + n_normal + n_logits), np.float32)
    for k in range(len(order)):
        i = order[k]
        for c in range(n_rgb):
            result[k, c] = colors[i, c]
        for c in range(n_normal):
            result[k, n_rgb + c] = normals[i, c]
        for c in range(n_logits):
            result[k, n_rgb + n_normal + c] = logits[i, c]
    return result


@parallel_kernel
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


@parallel_kernel
def _backward(
    rows, bounds, features, members, starts, worklist, shares, columns, widths, geometry, scratch, needed, transmittance, last,
    size, has_alpha, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits, depth, normal, normal_length,
    row_sums, feature_sums,
):  # fmt: skip
    for worker in prange(len(shares) - 1):
        behind, remaining = scratch[worker, :_PIXELS], scratch[worker, _PIXELS : 2 * _PIXELS]
        weights, grad_blended = scratch[worker, 2 * _PIXELS : 3 * _PIXELS], scratch[worker, 3 * _PIXELS :]
        for tile in worklist[shares[worker] : shares[worker + 1]]:
            x0, y0 = tile % columns * TILE, tile // columns * TILE
            read_tile_gradients(
                x0, y0, size, transmittance[tile], widths, has_alpha, grad_alpha, grad_rgb, grad_depth, grad_normal,
                grad_logits, depth, normal, normal_length, grad_blended, behind,
            )  # fmt: skip
            if geometry:
                remaining[:] = transmittance[tile]
                backward_tile(
                    rows, bounds, features, members, starts[tile], needed[tile], x0, y0, widths[3] > 0,
                    remaining, last[tile], grad_blended, behind, weights, row_sums[worker], feature_sums[worker],
                )  # fmt: skip
            else:
                backward_tile_features(
                    rows, bounds, members, starts[tile], needed[tile], x0, y0, features.shape[1],
                    remaining, last[tile], grad_blended, weights, feature_sums[worker],
                )  # fmt: skip


@parallel_kernel
def _sum_workers(rows, order, row_sums, feature_sums, grad_rows, grad_colors, grad_normals, grad_logits):
    """Adds the workers' sums in their order, and puts the result where the caller has the splat."""
    n_rgb, n_normal, n_logits = grad_colors.shape[1], grad_normals.shape[1], grad_logits.shape[1]
    for k in prange(len(order)):
        i = order[k]
        for worker in range(len(feature_sums)):
            sums = feature_sums[worker, k]
            for c in range(n_rgb):
                grad_colors[i, c] += sums[c]
            for c in range(n_normal):
                grad_normals[i, c] += sums[n_rgb + c]
            for c in range(n_logits):
                grad_logits[i, c] += sums[n_rgb + n_normal + c]
        if row_sums.shape[1]:
            for worker in range(1, len(row_sums)):
                for c in range(SUMS):
                    row_sums[0, k, c] += row_sums[worker, k, c]
            unfold_sums(rows, row_sums[0, k], k, grad_rows[i])
