"""The rasterizer on a CPU: numba kernels joined to torch autograd. Meaning and limits are those of `rasterize`.

Every pair of tile and splat has a row of its own for what the backward pass sums over pixels. Threads take tiles as they come
and never write to the same place, and each splat's pairs are added in one order: results do not depend on the threads.
"""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32
from numba import get_num_threads, prange
from torch import Tensor

from fmgs_core.raster.compositing import (
    BLOCKS,
    SUMS,
    backward_tile,
    backward_tile_features,
    forward_tile,
    last_contributors,
    unfold_sums,
)
from fmgs_core.raster.images import padded, read_tile_gradients, write_tile
from fmgs_core.raster.kernel import parallel_kernel
from fmgs_core.raster.projection import COLUMNS, NX, Z, project, project_backward, view_of
from fmgs_core.raster.simd import take_next
from fmgs_core.raster.tiles import TILE, Tiling, tile_splats
from fmgs_core.types import Camera, Channel, Rendering, Splats

_PIXELS = TILE * TILE
_BATCH = 64


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
    screen = _on_screen(splats, camera, colors, logits, channels, cull_backfaces)
    rows = _Rows.apply(splats.means, splats.quats, splats.scales, splats.opacities, screen)
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (rows, colors, logits))
    alpha, *rest = _Composite.apply(rows, colors, logits, screen, differentiable)
    return Rendering(alpha, **dict(zip(("rgb", "depth", "normal", "logits"), rest, strict=True)))


@dataclass(frozen=True)
class _Screen:
    """Splats as one camera sees them."""

    view: Float64[np.ndarray, "20"]
    size: tuple[int, int]
    """Height and width of the picture [px]."""
    widths: tuple[int, int, int, int]
    """Channels of colours, normals, logits and depth that are drawn."""
    rows: Float32[np.ndarray, "N 16"]
    """As projection.py says. Rows of splats that are not seen are arbitrary; so are their features."""
    bounds: Int32[np.ndarray, "N 4"]
    features: Float32[np.ndarray, "N F"]
    tiling: Tiling


@dataclass(frozen=True)
class _Drawn:
    """What the backward pass needs of the forward pass, by occupied tile, and per pixel of it."""

    needed: Int32[np.ndarray, " occupied"]
    """End of the members that contributed."""
    transmittance: Float32[np.ndarray, "occupied 256"]
    last: Float32[np.ndarray, "occupied 256"]
    inverse_length: Float32[np.ndarray, "occupied 256"]
    """Of the blended normal; empty when normals are not drawn."""


def _on_screen(splats, camera, colors, logits, channels, cull_backfaces) -> _Screen:
    n, view = len(splats.means), view_of(camera)
    widths = (colors.shape[1], 3 * (Channel.NORMAL in channels), logits.shape[1], int(Channel.DEPTH in channels))
    rows, bounds = np.empty((n, COLUMNS), np.float32), np.empty((n, 4), np.int32)
    features = np.empty((n, sum(-(-w // 4) * 4 for w in widths[:3])), np.float32)
    project(
        _array(splats.means), _array(splats.quats), _array(splats.scales), _array(splats.opacities), _array(colors),
        _array(logits), view, cull_backfaces, widths[1] > 0, get_num_threads(), _counter(), rows, bounds, features,
    )  # fmt: skip
    tiling = tile_splats(bounds, rows[:, Z], camera.width, camera.height)
    return _Screen(view, (camera.height, camera.width), widths, rows, bounds, features, tiling)


class _Rows(torch.autograd.Function):
    """Joins the splats to their screen-space rows, which are worked out before."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, screen):
        ctx.save_for_backward(means, quats, scales, opacities)
        ctx.screen = screen
        return torch.from_numpy(screen.rows)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rows):
        splats, screen = [_array(t) for t in ctx.saved_tensors], ctx.screen
        grads = [np.zeros_like(a) for a in splats]
        project_backward(*splats, screen.view, screen.tiling.seen, get_num_threads(), _counter(), _array(grad_rows), *grads)
        return *map(torch.from_numpy, grads), None


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, colors, logits, screen, differentiable):
        ctx.set_materialize_grads(False)
        images, drawn = _draw(screen)
        alpha, rgb, depth, normal, logits_image = (torch.from_numpy(image) if image.size else None for image in images)
        if differentiable:
            ctx.screen, ctx.drawn, ctx.shapes = screen, drawn, (colors.shape, logits.shape)
            ctx.save_for_backward(depth, normal)
        return alpha, rgb, depth, normal, logits_image

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits):
        # needs_input_grad knows which inputs may need a gradient, not which this call of autograd.grad asks for; the engine
        # does, for inner nodes (torch.autograd.graph uses the same function), and the projection is one.
        geometry = ctx.needs_input_grad[0] and torch._C._will_engine_execute_node(ctx.next_functions[0][0])
        grads = [
            _EMPTY if g is None else _array(g).reshape(-1) for g in (grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits)
        ]
        saved = [_EMPTY if t is None else _array(t).reshape(-1) for t in ctx.saved_tensors]
        found = _draw_backward(ctx.screen, ctx.drawn, grads, saved, geometry, ctx.shapes)
        wanted = zip(found, ctx.needs_input_grad, strict=False)
        return *(torch.from_numpy(g) if need and g.size else None for g, need in wanted), None, None


_EMPTY = np.zeros(0, np.float32)


def _draw(screen: _Screen) -> tuple[list[np.ndarray], _Drawn]:
    """Pictures of alpha, colours, depth, normals and logits (those not asked for are empty), and the state to go back."""
    (n_rgb, n_normal, n_logits, n_depth), size, tiling = screen.widths, screen.size, screen.tiling
    alpha, rgb, normal, logits = (np.zeros((*size, *w), np.float32) for w in ((), (n_rgb,), (n_normal,), (n_logits,)))
    depth = np.full(size if n_depth else (0, 0), np.nan, np.float32)
    occupied = len(tiling.occupied)
    transmittance, last, inverse_length = (_aligned(occupied, count * _PIXELS) for count in (1, 1, int(n_normal > 0)))
    drawn = _Drawn(np.empty(occupied, np.int32), transmittance, last, inverse_length)
    scratch = _scratch.rows("blended", get_num_threads(), (screen.features.shape[1] + 1) * _PIXELS)
    _forward(
        screen.rows, screen.bounds, screen.features, tiling.members, tiling.starts, tiling.occupied, tiling.columns, size,
        screen.widths, _counter(), scratch, drawn.needed, transmittance, last, inverse_length,
        alpha.reshape(-1), rgb.reshape(-1), depth.reshape(-1), normal.reshape(-1), logits.reshape(-1),
    )  # fmt: skip
    return [alpha, rgb, depth, normal, logits], drawn


def _draw_backward(screen, drawn, grads, saved, geometry, shapes) -> list[np.ndarray]:
    """Gradients of the screen-space rows, colours and logits; empty for those that have none."""
    tiling, features = screen.tiling, screen.features
    widths = tuple(w if len(g) else 0 for w, g in zip(screen.widths, (grads[1], grads[3], grads[4], grads[2]), strict=True))
    if widths[:3] != screen.widths[:3]:
        features = _some_features(features, screen.widths, widths)
    F = features.shape[1]
    sums = _scratch.rows("sums", len(tiling.members), (SUMS if geometry else 0) + F)
    scratch = _scratch.rows("gradients", get_num_threads(), (F + 5) * _PIXELS)
    _backward(
        screen.rows, screen.bounds, features, tiling.members, tiling.starts, tiling.occupied, tiling.columns, screen.size,
        widths, geometry, _counter(), scratch, drawn.needed, drawn.transmittance, drawn.last, drawn.inverse_length,
        *grads, *saved, sums,
    )  # fmt: skip
    found = [
        np.empty_like(screen.rows) if geometry else _EMPTY,
        np.zeros(shapes[0] if widths[0] else 0, np.float32).reshape(-1, max(widths[0], 1)),
        np.zeros(shapes[1] if widths[2] else 0, np.float32).reshape(-1, max(widths[2], 1)),
    ]
    _sum_pairs(
        screen.rows, tiling.seen, tiling.pair_starts, tiling.pairs, sums, geometry, widths, get_num_threads(), _counter(),
        found[0].reshape(-1, COLUMNS), found[1], found[2],
    )  # fmt: skip
    return found


def _some_features(features, widths, kept) -> np.ndarray:
    """Those columns of the padded features whose gradient is asked for."""
    ends = np.cumsum([-(-w // 4) * 4 for w in widths[:3]])
    parts = [features[:, end - -(-w // 4) * 4 : end] for end, w, k in zip(ends, widths, kept, strict=False) if k]
    return np.concatenate([features[:, :0], *parts], 1)


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values, C-contiguous; a view where it already is."""
    return tensor.detach().contiguous().numpy()


def _counter() -> np.ndarray:
    """What threads take their work from."""
    return np.zeros(1, np.int64)


def _aligned(rows: int, columns: int) -> np.ndarray:
    """Unset, aligned as torch does: a SIMD row that straddles cache lines costs twice."""
    return torch.empty((rows, columns), dtype=torch.float32).numpy()


class _Scratch(threading.local):
    """Memory that is used within one call and kept for the next of the same thread: fresh pages cost more than the work."""

    def __init__(self):
        self.buffers: dict[str, np.ndarray] = {}

    def rows(self, name: str, rows: int, columns: int) -> np.ndarray:
        """Unset rows of floats, each row aligned when the columns are a multiple of sixteen."""
        size = rows * columns
        if name not in self.buffers or self.buffers[name].size < size:
            self.buffers[name] = _aligned(1, size)[0]
        return self.buffers[name][:size].reshape(rows, columns)


_scratch = _Scratch()


@parallel_kernel
def _forward(
    rows, bounds, features, members, starts, occupied, columns, size, widths, counter, scratch,
    needed, transmittance, last, inverse_length, alpha, rgb, depth, normal, logits,
):  # fmt: skip
    for worker in prange(len(scratch)):
        k = take_next(counter)
        while k < len(occupied):
            tile = occupied[k]
            x0, y0 = tile % columns * TILE, tile // columns * TILE
            needed[k] = forward_tile(
                rows, bounds, features, members, starts[tile], starts[tile + 1], x0, y0, widths[3] > 0,
                transmittance[k], last[k], scratch[worker],
            )  # fmt: skip
            write_tile(
                x0, y0, size, transmittance[k], scratch[worker], widths, alpha, rgb, depth, normal, logits, inverse_length[k]
            )
            k = take_next(counter)


@parallel_kernel
def _backward(
    rows, bounds, features, members, starts, occupied, columns, size, widths, geometry, counter, scratch, needed,
    transmittance, last, inverse_length, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits, depth, normal, sums,
):  # fmt: skip
    for worker in prange(len(scratch)):
        behind, remaining = scratch[worker, :_PIXELS], scratch[worker, _PIXELS : 2 * _PIXELS]
        weights, grad_blended = scratch[worker, 2 * _PIXELS : 3 * _PIXELS], scratch[worker, 3 * _PIXELS :]
        last_of_block, touched = np.empty(BLOCKS, np.float32), np.empty(BLOCKS, np.int32)
        flat = sums.reshape(-1)
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
                    rows, bounds, features, members, begin, end, x0, y0, widths[3] > 0, remaining, last[k], last_of_block,
                    grad_blended, behind, weights, touched, flat,
                )  # fmt: skip
            else:
                backward_tile_features(
                    rows, bounds, members, begin, end, x0, y0, features.shape[1], remaining, last[k], last_of_block,
                    grad_blended, weights, touched, flat,
                )  # fmt: skip
            sums[end : starts[tile + 1]] = 0
            k = take_next(counter)


@parallel_kernel
def _sum_pairs(rows, seen, pair_starts, pairs, sums, geometry, widths, workers, counter, grad_rows, grad_colors, grad_logits):
    """Adds each splat's pairs, and puts the result where the caller has the splat."""
    n_rgb, n_normal, n_logits, _ = widths
    at_features = SUMS if geometry else 0
    at_normal = at_features + padded(n_rgb)
    at_logits = at_normal + padded(n_normal)
    for _ in prange(workers):
        total = np.empty(sums.shape[1], np.float32)
        batch = take_next(counter)
        while batch * _BATCH < len(seen):
            for k in range(batch * _BATCH, min((batch + 1) * _BATCH, len(seen))):
                i = seen[k]
                total[:] = sums[pairs[pair_starts[k]]]
                for p in range(pair_starts[k] + 1, pair_starts[k + 1]):
                    total += sums[pairs[p]]
                if geometry:
                    unfold_sums(rows, total, i, grad_rows[i])
                    for c in range(3):
                        grad_rows[i, NX + c] = total[at_normal + c] if n_normal else 0
                for c in range(n_rgb):
                    grad_colors[i, c] = total[at_features + c]
                for c in range(n_logits):
                    grad_logits[i, c] = total[at_logits + c]
            batch = take_next(counter)
