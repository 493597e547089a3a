"""`binding.pose_splats` by hand in numba, forward and backward: a 60-operation torch graph over 27 k faces costs ten times
as much. `binding.pose_splats_reference` is the readable twin that judges it.

Rotations are differentiated in their tangent space: with R = [u v n] and dR = R [w]x,
    w_x = -v.dn, w_y = u.dn, w_z = v.du,    dq = q * (0, w / 2),
and n, u come from the blended columns N = A r_n, U = A r_u by Gram-Schmidt.
"""

import math
from typing import Any

import numba as nb
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.concurrency import PARALLEL_KERNELS

_SMALL_ANGLE_SQ = 1e-8
_jit: Any = nb.njit(parallel=True, cache=True, fastmath=True, error_model="numpy")
_inline: Any = nb.njit(cache=True, fastmath=True, error_model="numpy")


@_inline
def _coefficients(angle_sq):
    """sin(t)/t, (1 - cos t)/t^2, (t - sin t)/t^3."""
    if angle_sq < _SMALL_ANGLE_SQ:
        return 1.0 - angle_sq / 6.0, 0.5 - angle_sq / 24.0, 1.0 / 6.0 - angle_sq / 120.0
    t = math.sqrt(angle_sq)
    s, c = math.sin(t), math.cos(t)
    return s / t, (1.0 - c) / angle_sq, (t - s) / (angle_sq * t)


@_inline
def _times(M, x, y, z):
    """3 x 3 matrix, the first of a row-major (3, 3) or (3, 4) array, times a vector."""
    return (
        M[0, 0] * x + M[0, 1] * y + M[0, 2] * z,
        M[1, 0] * x + M[1, 1] * y + M[1, 2] * z,
        M[2, 0] * x + M[2, 1] * y + M[2, 2] * z,
    )


@_inline
def _transposed_times(M, x, y, z):
    return (
        M[0, 0] * x + M[1, 0] * y + M[2, 0] * z,
        M[0, 1] * x + M[1, 1] * y + M[2, 1] * z,
        M[0, 2] * x + M[1, 2] * y + M[2, 2] * z,
    )


@_inline
def _local_columns(x, y, z):
    """First and third column of exp([dr]x)."""
    a, b, _ = _coefficients(x * x + y * y + z * z)
    return (1.0 - b * (y * y + z * z), a * z + b * x * y, -a * y + b * x * z), (
        a * y + b * x * z,
        -a * x + b * y * z,
        1.0 - b * (x * x + y * y),
    )


@_inline
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_inline
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@_inline
def _gram_schmidt(N, U):
    """u, n and what their derivative needs: |N|, N-component of U, |U - (U.n) n|."""
    length_n = math.sqrt(_dot(N, N)) + 1e-20
    n = (N[0] / length_n, N[1] / length_n, N[2] / length_n)
    along = _dot(U, n)
    rest = (U[0] - along * n[0], U[1] - along * n[1], U[2] - along * n[2])
    length_u = math.sqrt(_dot(rest, rest)) + 1e-20
    return (rest[0] / length_u, rest[1] / length_u, rest[2] / length_u), n, length_n, along, length_u


@_inline
def _quaternion(u, v, n):
    """wxyz of the rotation with these columns, by the largest of the four divisors."""
    if u[0] + v[1] + n[2] > 0:
        q = (1 + u[0] + v[1] + n[2], v[2] - n[1], n[0] - u[2], u[1] - v[0])
    elif u[0] >= v[1] and u[0] >= n[2]:
        q = (v[2] - n[1], 1 + u[0] - v[1] - n[2], u[1] + v[0], n[0] + u[2])
    elif v[1] >= n[2]:
        q = (n[0] - u[2], u[1] + v[0], 1 - u[0] + v[1] - n[2], v[2] + n[1])
    else:
        q = (u[1] - v[0], n[0] + u[2], v[2] + n[1], 1 - u[0] - v[1] + n[2])
    length = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
    return q[0] / length, q[1] / length, q[2] / length, q[3] / length


@_jit
def _forward(centers, frames, offset, rotation, T, transl, means, quats):
    for k in nb.prange(len(centers)):
        F, A = frames[k], T[k]
        p = (
            centers[k, 0] + F[0, 2] * offset[k],
            centers[k, 1] + F[1, 2] * offset[k],
            centers[k, 2] + F[2, 2] * offset[k],
        )
        m = _times(A, p[0], p[1], p[2])
        e0, e2 = _local_columns(rotation[k, 0], rotation[k, 1], rotation[k, 2])
        r_u, r_n = _times(F, e0[0], e0[1], e0[2]), _times(F, e2[0], e2[1], e2[2])
        u, n, _, _, _ = _gram_schmidt(_times(A, r_n[0], r_n[1], r_n[2]), _times(A, r_u[0], r_u[1], r_u[2]))
        q = _quaternion(u, _cross(n, u), n)
        for i in range(3):
            means[k, i] = m[i] + A[i, 3] + transl[i]
        for i in range(4):
            quats[k, i] = q[i]


@_jit
def _backward(centers, frames, offset, rotation, T, quats, g_means, g_quats, g_offset, g_rotation, g_T, wants_T):
    for k in nb.prange(len(centers)):
        F, A = frames[k], T[k]
        rx, ry, rz = rotation[k, 0], rotation[k, 1], rotation[k, 2]
        e0, e2 = _local_columns(rx, ry, rz)
        r_u, r_n = _times(F, e0[0], e0[1], e0[2]), _times(F, e2[0], e2[1], e2[2])
        u, n, length_n, along, length_u = _gram_schmidt(_times(A, r_n[0], r_n[1], r_n[2]), _times(A, r_u[0], r_u[1], r_u[2]))
        v = _cross(n, u)
        # dL/dw from dq = q * (0, w / 2)
        w, x, y, z = quats[k, 0], quats[k, 1], quats[k, 2], quats[k, 3]
        gw, gx, gy, gz = g_quats[k, 0], g_quats[k, 1], g_quats[k, 2], g_quats[k, 3]
        wx = 0.5 * (-x * gw + w * gx + z * gy - y * gz)
        wy = 0.5 * (-y * gw - z * gx + w * gy + x * gz)
        wz = 0.5 * (-z * gw + y * gx - x * gy + w * gz)
        a, b, c = wy / length_n, (-wx - wz * along / length_u) / length_n, wz / length_u
        gN = (a * u[0] + b * v[0], a * u[1] + b * v[1], a * u[2] + b * v[2])
        gU = (c * v[0], c * v[1], c * v[2])
        gm = (g_means[k, 0], g_means[k, 1], g_means[k, 2])
        if wants_T:
            p = (
                centers[k, 0] + F[0, 2] * offset[k],
                centers[k, 1] + F[1, 2] * offset[k],
                centers[k, 2] + F[2, 2] * offset[k],
            )
            for i in range(3):
                for j in range(3):
                    g_T[k, i, j] = gN[i] * r_n[j] + gU[i] * r_u[j] + gm[i] * p[j]
                g_T[k, i, 3] = gm[i]
        gp = _transposed_times(A, gm[0], gm[1], gm[2])
        g_offset[k] = F[0, 2] * gp[0] + F[1, 2] * gp[1] + F[2, 2] * gp[2]
        _store_rotation_gradient(F, A, gN, gU, e0, e2, rx, ry, rz, g_rotation[k])


@_inline
def _store_rotation_gradient(F, A, gN, gU, e0, e2, rx, ry, rz, out):
    """Back through A F exp([dr]x): tangent gradient of the exponential, then its right Jacobian, transposed."""
    t = _transposed_times(A, gN[0], gN[1], gN[2])
    g2 = _transposed_times(F, t[0], t[1], t[2])
    t = _transposed_times(A, gU[0], gU[1], gU[2])
    g0 = _transposed_times(F, t[0], t[1], t[2])
    # E^T g, for E = [e0, e2 x e0, e2]
    e1 = _cross(e2, e0)
    a = (_dot(e0, g2), _dot(e1, g2), _dot(e2, g2))
    b = (_dot(e0, g0), _dot(e1, g0), _dot(e2, g0))
    # e_z x a + e_x x b
    wx, wy, wz = -a[1], a[0] - b[2], b[1]
    _, c1, c2 = _coefficients(rx * rx + ry * ry + rz * rz)
    along = rx * wx + ry * wy + rz * wz
    square = rx * rx + ry * ry + rz * rz
    cx, cy, cz = ry * wz - rz * wy, rz * wx - rx * wz, rx * wy - ry * wx
    out[0] = wx + c1 * cx + c2 * (along * rx - square * wx)
    out[1] = wy + c1 * cy + c2 * (along * ry - square * wy)
    out[2] = wz + c1 * cz + c2 * (along * rz - square * wz)


class PosedFrames(torch.autograd.Function):
    """Means and rotations of posed Gaussians; differentiable in offset, rotation, the blended transforms and transl.

    Call: apply(centers (K,3), frames (K,3,3), offset (K,), rotation (K,3), T (K,3,4), transl (3,)) -> means (K,3), quats (K,4).
    """

    @staticmethod
    def forward(
        ctx: Any, centers: Tensor, frames: Tensor, offset: Tensor, rotation: Tensor, T: Tensor, transl: Tensor
    ) -> tuple[Float[Tensor, "K 3"], Float[Tensor, "K 4"]]:
        means, quats = torch.empty_like(centers), torch.empty(len(centers), 4)
        arrays = [x.detach().contiguous().numpy() for x in (centers, frames, offset, rotation, T, transl)]
        with PARALLEL_KERNELS:
            _forward(*arrays, means.numpy(), quats.numpy())
        ctx.arrays, ctx.quats = arrays[:5], quats.numpy()
        return means, quats

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_means: Tensor, g_quats: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        K = len(g_means)
        wants_T = ctx.needs_input_grad[4]
        g_offset, g_rotation, g_T = torch.empty(K), torch.empty(K, 3), torch.empty(K if wants_T else 1, 3, 4)
        upstream = g_means.contiguous().numpy(), g_quats.contiguous().numpy()
        with PARALLEL_KERNELS:
            _backward(*ctx.arrays, ctx.quats, *upstream, g_offset.numpy(), g_rotation.numpy(), g_T.numpy(), wants_T)
        g_transl = torch.from_numpy(np.sum(upstream[0], axis=0)) if ctx.needs_input_grad[5] else None
        return None, None, g_offset, g_rotation, g_T if wants_T else None, g_transl
