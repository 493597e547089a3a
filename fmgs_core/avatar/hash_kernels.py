"""`hash_grid.encoded` by hand in numba: torch's gathers take twenty times as long, and their gradient depends on the order in
which threads come by.

Both kernels go level by level, because one level's table (half a megabyte) stays in a core's own cache and all sixteen do not.
A level belongs to one thread, so no two write to one row and equal input gives equal bits on any number of threads.
"""

from typing import Any

import numba as nb
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from fmgs_core.concurrency import PARALLEL_KERNELS

_jit: Any = nb.njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
_inline: Any = nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_inline
def _weights(fx, fy, fz):
    """Of the eight corners; bit 0 is x, bit 2 is z."""
    ex, ey, ez = nb.float32(1) - fx, nb.float32(1) - fy, nb.float32(1) - fz  # a literal would be a double
    a, b, c, d = ey * ez, fy * ez, ey * fz, fy * fz
    return ex * a, fx * a, ex * b, fx * b, ex * c, fx * c, ex * d, fx * d


@_jit
def _gather(table, rows, fractions, starts, out):
    levels, points = rows.shape[0], rows.shape[1]
    for level in nb.prange(levels):
        values = table[starts[level] : starts[level + 1]]
        for k in range(points):
            weights = _weights(fractions[level, 0, k], fractions[level, 1, k], fractions[level, 2, k])
            first, second = nb.float32(0), nb.float32(0)
            for corner in range(8):
                row = rows[level, k, corner]
                first += weights[corner] * values[row, 0]
                second += weights[corner] * values[row, 1]
            out[2 * level, k], out[2 * level + 1, k] = first, second


@_jit
def _scatter(gradient, rows, fractions, starts, out):
    """The transposed product. Points without a gradient, more than half, are passed over."""
    levels, points = rows.shape[0], rows.shape[1]
    for level in nb.prange(levels):
        values = out[starts[level] : starts[level + 1]]
        values[:] = 0
        for k in range(points):
            first, second = gradient[2 * level, k], gradient[2 * level + 1, k]
            if first == 0 and second == 0:
                continue
            weights = _weights(fractions[level, 0, k], fractions[level, 1, k], fractions[level, 2, k])
            for corner in range(8):
                row = rows[level, k, corner]
                values[row, 0] += weights[corner] * first
                values[row, 1] += weights[corner] * second


class EncodedPoints(torch.autograd.Function):
    """Call: apply(table (R,2), rows (L,K,8) uint16, fractions (L,3,K), level_starts) -> features (2L,K)."""

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        rows: Integer[Tensor, "L K 8"],
        fractions: Float[Tensor, "L 3 K"],
        level_starts: tuple[int, ...],
    ) -> Float[Tensor, "width K"]:
        out = torch.empty(2 * rows.shape[0], rows.shape[1])
        ctx.constants, ctx.shape = (rows.numpy(), fractions.numpy(), level_starts), table.shape
        with PARALLEL_KERNELS:
            _gather(table.detach().contiguous().numpy(), *ctx.constants, out.numpy())
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        out = torch.empty(ctx.shape)
        with PARALLEL_KERNELS:
            _scatter(gradient.contiguous().numpy(), *ctx.constants, out.numpy())
        return out, None, None, None
