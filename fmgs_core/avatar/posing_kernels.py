"""`binding.pose_splats` by hand in numba, forward and backward: a 60-operation torch graph over 27 k faces costs ten times
as much, and one of 55 joints more than all the faces do here. `binding.pose_splats_reference` is the readable twin that
judges it.

Rotations are differentiated in their tangent space: with R = [u v n] and dR = R [w]x,
    w_x = -v.dn, w_y = u.dn, w_z = v.du,    dq = q * (0, w / 2),
and n, u come from the blended columns N = A r_n, U = A r_u by Gram-Schmidt.
"""

import math
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.concurrency import PARALLEL_KERNELS


@dataclass(frozen=True)
class SparseWeights:
    """Skinning weights of K Gaussians without the zeros, as in scipy's csr_matrix: five of 55 joints move one."""

    starts: Int[np.ndarray, " K_plus_1"]
    joints: Int[np.ndarray, " entries"]
    values: Float[np.ndarray, " entries"]

    @staticmethod
    def of(weights: Float[np.ndarray, "K J"]) -> "SparseWeights":
        rows, joints = np.nonzero(weights)
        starts = np.searchsorted(rows, np.arange(len(weights) + 1))
        return SparseWeights(starts.astype(np.int32), joints.astype(np.int32), weights[rows, joints].astype(np.float32))


# Up to here [rad^2] five terms of the series are exact in double precision's 1e-10, and a third of the time of sin and cos.
_SMALL_ANGLE_SQ = 0.3
_jit: Any = nb.njit(parallel=True, cache=True, nogil=True, fastmath=True, error_model="numpy")
_inline: Any = nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@_inline
def _coefficients(angle_sq):
    """sin(t)/t, (1 - cos t)/t^2, (t - sin t)/t^3."""
    q = angle_sq
    if q < _SMALL_ANGLE_SQ:
        return (
            1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0))),
            0.5 - q / 24.0 * (1.0 - q / 30.0 * (1.0 - q / 56.0 * (1.0 - q / 90.0))),
            1.0 / 6.0 - q / 120.0 * (1.0 - q / 42.0 * (1.0 - q / 72.0 * (1.0 - q / 110.0))),
        )
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


@_inline
def _rotation(pose, out):
    """Rodrigues' formula."""
    x, y, z = pose[0], pose[1], pose[2]
    a, b, _ = _coefficients(x * x + y * y + z * z)
    out[0, 0], out[0, 1], out[0, 2] = 1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y
    out[1, 0], out[1, 1], out[1, 2] = b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x
    out[2, 0], out[2, 1], out[2, 2] = b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)


@_inline
def _bones(pose, joints, parents, local, world, bones):
    """Rotations relative to the parent, in the world, and [R | t] with x_posed = R x_rest + t, joint by joint from the root.
    A joint's own position is its rest position moved by its parent's transform."""
    for j in range(len(parents)):
        _rotation(pose[j], local[j])
        parent, x = parents[j], joints[j]
        if parent < 0:
            world[j] = local[j]
            p = (x[0], x[1], x[2])
        else:
            for i in range(3):
                for k in range(3):
                    R = world[parent]
                    world[j, i, k] = R[i, 0] * local[j, 0, k] + R[i, 1] * local[j, 1, k] + R[i, 2] * local[j, 2, k]
            moved = _times(bones[parent], x[0], x[1], x[2])
            p = (moved[0] + bones[parent, 0, 3], moved[1] + bones[parent, 1, 3], moved[2] + bones[parent, 2, 3])
        turned = _times(world[j], x[0], x[1], x[2])
        for i in range(3):
            for k in range(3):
                bones[j, i, k] = world[j, i, k]
            bones[j, i, 3] = p[i] - turned[i]


@_inline
def _bones_backward(g_bones, pose, joints, parents, local, world, g_pose):
    """Leaves first. g_world and g_position gather what children and the bone itself ask of a joint's frame."""
    count = len(parents)
    g_world, g_position = np.zeros((count, 3, 3), np.float32), np.zeros((count, 3), np.float32)
    M = np.zeros((3, 3), np.float32)
    for j in range(count - 1, -1, -1):
        for i in range(3):
            # t = p - R x
            g_position[j, i] += g_bones[j, i, 3]
            for k in range(3):
                g_world[j, i, k] += g_bones[j, i, k] - g_bones[j, i, 3] * joints[j, k]
        parent = parents[j]
        if parent >= 0:
            # p = p_parent + R_parent (x - x_parent), R = R_parent L
            for i in range(3):
                g_position[parent, i] += g_position[j, i]
                for k in range(3):
                    g = g_world[j]
                    g_world[parent, i, k] += (
                        g_position[j, i] * (joints[j, k] - joints[parent, k])
                        + g[i, 0] * local[j, k, 0] + g[i, 1] * local[j, k, 1] + g[i, 2] * local[j, k, 2]
                    )  # fmt: skip
        # L^T dL/dL = R^T dL/dR, of which the antisymmetric part turns L.
        for i in range(3):
            for k in range(3):
                g = g_world[j]
                M[i, k] = world[j, 0, i] * g[0, k] + world[j, 1, i] * g[1, k] + world[j, 2, i] * g[2, k]
        # M is R^T G = L^T (R_parent^T G); a tangent step of R and of L are the same.
        _axis_angle_gradient(pose[j], M[2, 1] - M[1, 2], M[0, 2] - M[2, 0], M[1, 0] - M[0, 1], g_pose[j])


@_inline
def _axis_angle_gradient(r, wx, wy, wz, out):
    """Back from the tangent of exp([r]x) on its right to r: the transposed right Jacobian."""
    rx, ry, rz = r[0], r[1], r[2]
    square = rx * rx + ry * ry + rz * rz
    _, c1, c2 = _coefficients(square)
    along = rx * wx + ry * wy + rz * wz
    cx, cy, cz = ry * wz - rz * wy, rz * wx - rx * wz, rx * wy - ry * wx
    out[0] = wx + c1 * cx + c2 * (along * rx - square * wx)
    out[1] = wy + c1 * cy + c2 * (along * ry - square * wy)
    out[2] = wz + c1 * cz + c2 * (along * rz - square * wz)


@_inline
def _blend(starts, members, weights, bones, k, A):
    """The weighted bones of Gaussian k."""
    for i in range(3):
        for c in range(4):
            A[i, c] = 0.0
    for e in range(starts[k], starts[k + 1]):
        bone, w = bones[members[e]], weights[e]
        for i in range(3):
            for c in range(4):
                A[i, c] += w * bone[i, c]


@_jit
def _forward(centers, frames, joints, parents, starts, members, weights, pose, transl, offset, rotation,
             local, world, bones, means, quats, workers):  # fmt: skip
    _bones(pose, joints, parents, local, world, bones)
    count = len(centers)
    for worker in nb.prange(workers):
        A = np.zeros((3, 4), np.float32)
        for k in range(worker * count // workers, (worker + 1) * count // workers):
            F = frames[k]
            _blend(starts, members, weights, bones, k, A)
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


@_inline
def _all_zero(row):
    for value in row:
        if value != 0.0:
            return False
    return True


@_jit
def _backward(centers, frames, joints, parents, starts, members, weights, pose, transl, offset, rotation,
              local, world, bones, quats, g_means, g_quats, wants_pose,
              g_pose, g_transl, g_offset, g_rotation, g_bones):  # fmt: skip
    """`g_bones` (workers, J, 3, 4) zeros: each worker has its own, summed in their order."""
    count, workers = len(centers), len(g_bones)
    for worker in nb.prange(workers):
        A, g_A = np.zeros((3, 4), np.float32), np.zeros((3, 4), np.float32)
        for k in range(worker * count // workers, (worker + 1) * count // workers):
            if _all_zero(g_means[k]) and _all_zero(g_quats[k]):  # most: they face away from the camera
                g_offset[k] = g_rotation[k, 0] = g_rotation[k, 1] = g_rotation[k, 2] = 0.0
                continue
            F = frames[k]
            _blend(starts, members, weights, bones, k, A)
            rx, ry, rz = rotation[k, 0], rotation[k, 1], rotation[k, 2]
            e0, e2 = _local_columns(rx, ry, rz)
            r_u, r_n = _times(F, e0[0], e0[1], e0[2]), _times(F, e2[0], e2[1], e2[2])
            u, n, length_n, along, length_u = _gram_schmidt(
                _times(A, r_n[0], r_n[1], r_n[2]), _times(A, r_u[0], r_u[1], r_u[2])
            )
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
            if wants_pose:
                p = (
                    centers[k, 0] + F[0, 2] * offset[k],
                    centers[k, 1] + F[1, 2] * offset[k],
                    centers[k, 2] + F[2, 2] * offset[k],
                )
                for i in range(3):
                    for j in range(3):
                        g_A[i, j] = gN[i] * r_n[j] + gU[i] * r_u[j] + gm[i] * p[j]
                    g_A[i, 3] = gm[i]
                for e in range(starts[k], starts[k + 1]):
                    g_bone, weight = g_bones[worker, members[e]], weights[e]
                    for i in range(3):
                        for j in range(4):
                            g_bone[i, j] += weight * g_A[i, j]
            gp = _transposed_times(A, gm[0], gm[1], gm[2])
            g_offset[k] = F[0, 2] * gp[0] + F[1, 2] * gp[1] + F[2, 2] * gp[2]
            _store_rotation_gradient(F, A, gN, gU, e0, e2, rotation[k], g_rotation[k])
    if wants_pose:
        for worker in range(1, workers):
            g_bones[0] += g_bones[worker]
        # The weights of a Gaussian sum to 1, so the bones' translations together are every mean's.
        for j in range(len(joints)):
            for i in range(3):
                g_transl[i] += g_bones[0, j, i, 3]
        _bones_backward(g_bones[0], pose, joints, parents, local, world, g_pose)


@_inline
def _store_rotation_gradient(F, A, gN, gU, e0, e2, r, out):
    """Back through A F exp([dr]x)."""
    t = _transposed_times(A, gN[0], gN[1], gN[2])
    g2 = _transposed_times(F, t[0], t[1], t[2])
    t = _transposed_times(A, gU[0], gU[1], gU[2])
    g0 = _transposed_times(F, t[0], t[1], t[2])
    # E^T g, for E = [e0, e2 x e0, e2]
    e1 = _cross(e2, e0)
    a = (_dot(e0, g2), _dot(e1, g2), _dot(e2, g2))
    b = (_dot(e0, g0), _dot(e1, g0), _dot(e2, g0))
    # e_z x a + e_x x b
    _axis_angle_gradient(r, -a[1], a[0] - b[2], b[1], out)


# Beyond this many threads summing the bones' gradients would cost more than they save.
_MAX_WORKERS = 16


class PosedFrames(torch.autograd.Function):
    """Means and rotations of posed Gaussians; differentiable in pose, translation, offset and rotation.

    Call: apply(rest, pose (J,3), transl (3,), offset (K,), rotation (K,3)) -> means (K,3), quats (K,4), where rest is the
    tuple centers (K,3), frames (K,3,3), joints (J,3), parents (J,), SparseWeights.

    Equal input gives equal bits on the same number of threads.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rest: tuple[Tensor, Tensor, Tensor, np.ndarray, SparseWeights],
        pose: Tensor,
        transl: Tensor,
        offset: Tensor,
        rotation: Tensor,
    ) -> tuple[Float[Tensor, "K 3"], Float[Tensor, "K 4"]]:
        centers, frames, joints, parents, skin = rest
        J, K, workers = len(joints), len(centers), min(nb.get_num_threads(), _MAX_WORKERS)
        means, quats = torch.empty(K, 3), torch.empty(K, 4)
        arrays = (
            *(x.detach().contiguous().numpy() for x in (centers, frames, joints)), parents,
            skin.starts, skin.joints, skin.values,
            *(x.detach().contiguous().numpy() for x in (pose, transl, offset, rotation)),
            np.empty((J, 3, 3), np.float32), np.empty((J, 3, 3), np.float32), np.empty((J, 3, 4), np.float32),
        )  # fmt: skip
        with PARALLEL_KERNELS:
            _forward(*arrays, means.numpy(), quats.numpy(), workers)
        ctx.arrays, ctx.quats, ctx.workers = arrays, quats.numpy(), workers
        return means, quats

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g_means: Tensor, g_quats: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        K, J = len(g_means), len(ctx.arrays[2])
        # needs_input_grad knows which inputs may need a gradient, not which the caller asked for: see raster/cpu.py.
        wants_pose = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        g_pose, g_transl, g_offset, g_rotation = torch.zeros(J, 3), torch.zeros(3), torch.empty(K), torch.empty(K, 3)
        g_bones = np.zeros((ctx.workers, J, 3, 4), np.float32)
        upstream = g_means.contiguous().numpy(), g_quats.contiguous().numpy()
        outputs = (g.numpy() for g in (g_pose, g_transl, g_offset, g_rotation))
        with PARALLEL_KERNELS:
            _backward(*ctx.arrays, ctx.quats, *upstream, wants_pose, *outputs, g_bones)
        return None, *(g if wants_pose else None for g in (g_pose, g_transl)), g_offset, g_rotation
