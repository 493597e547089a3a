"""`light.lit` by hand in numba: albedo times shading by the splats' normals, and the way back. In torch its twenty small
operations over all Gaussians took a seventh of a training step."""

import math
from typing import Any

import numba as nb
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.concurrency import PARALLEL_KERNELS

_jit: Any = nb.njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
_inline: Any = nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")

# Gaussians are summed in this many parts, whatever the number of threads, so that equal input gives equal bits.
_PARTS = 16


@_inline
def _harmonics(quat, out):
    """light.harmonics of the third axis of a unit quaternion."""
    w, x, y, z = quat[0], quat[1], quat[2], quat[3]
    nx, ny, nz = 2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)
    out[0], out[1], out[2] = ny, nz, nx
    out[3], out[4], out[5], out[6], out[7] = nx * ny, ny * nz, 3 * nz * nz - 1, nx * nz, nx * nx - ny * ny


@_jit
def _forward(albedo, quats, coefficients, bound, ratios, colors):
    """`ratios`: what the coefficients ask for over the bound."""
    count = len(albedo)
    for part in nb.prange(_PARTS):
        basis = np.zeros(8, np.float32)
        for k in range(part * count // _PARTS, (part + 1) * count // _PARTS):
            _harmonics(quats[k], basis)
            for c in range(3):
                total = np.float32(0.0)
                for i in range(8):
                    total += basis[i] * coefficients[i, c]
                ratio = total / bound
                ratios[k, c] = ratio
                colors[k, c] = albedo[k, c] * (1 + bound * ratio / math.sqrt(1 + ratio * ratio))


@_jit
def _backward(albedo, quats, bound, ratios, grads, g_albedo, g_coefficients):
    """`g_coefficients` (parts, 8, 3) zeros."""
    count = len(albedo)
    for part in nb.prange(_PARTS):
        basis = np.zeros(8, np.float32)
        for k in range(part * count // _PARTS, (part + 1) * count // _PARTS):
            if grads[k, 0] == 0 and grads[k, 1] == 0 and grads[k, 2] == 0:
                g_albedo[k, 0] = g_albedo[k, 1] = g_albedo[k, 2] = 0.0
                continue
            _harmonics(quats[k], basis)
            for c in range(3):
                ratio = ratios[k, c]
                inverse = 1 / math.sqrt(1 + ratio * ratio)
                g_albedo[k, c] = grads[k, c] * (1 + bound * ratio * inverse)
                slope = grads[k, c] * albedo[k, c] * inverse * inverse * inverse
                for i in range(8):
                    g_coefficients[part, i, c] += basis[i] * slope


class Lit(torch.autograd.Function):
    """Call: apply(albedo (K,3), quats (K,4) unit, coefficients (8,3), bound) -> colours (K,3). No gradient goes to quats."""

    @staticmethod
    def forward(ctx: Any, albedo: Tensor, quats: Tensor, coefficients: Tensor, bound: float) -> Float[Tensor, "K 3"]:
        inputs = [x.detach().contiguous().numpy() for x in (albedo, quats, coefficients)]
        ratios, colors = np.empty_like(inputs[0]), torch.empty_like(albedo)
        with PARALLEL_KERNELS:
            _forward(*inputs, np.float32(bound), ratios, colors.numpy())
        ctx.saved = inputs[0], inputs[1], np.float32(bound), ratios
        return colors

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        g_albedo, parts = torch.empty_like(grads), np.zeros((_PARTS, 8, 3), np.float32)
        with PARALLEL_KERNELS:
            _backward(*ctx.saved, grads.contiguous().numpy(), g_albedo.numpy(), parts)
        return g_albedo, None, torch.from_numpy(parts.sum(0)), None
