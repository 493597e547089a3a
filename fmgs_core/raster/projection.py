"""World-frame splats to screen-space rows, forward and backward, splat by splat in numba.

With pixels counted from the projected centre, d = p - c, the adjugate of M collapses to (rasterizer maths of 2DGS):

    [u v]^T = Q d / w,   w = 1 + g . d,   z = z_centre / w

where J = [a b] / z_centre holds the projected tangents, Q = J^-1, g = -Q^T h and h = (tangents' camera z) / z_centre.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int32
from numba import prange
from torch import Tensor

from fmgs_core.raster.constants import (
    ALPHA_MIN,
    NEAR_M,
    PARAMETER_MAX,
    QUATERNION_NORM_MIN,
    RATIO_MIN,
    SCALE_MIN_M,
    SLOPE_MAX,
    SUPPORT_SIGMA,
    SUPPORT_SLACK,
)
from fmgs_core.raster.kernel import kernel_part, parallel_kernel
from fmgs_core.types import Camera, Splats

# Columns of a splat's screen-space row. The first ten are differentiable.
CX, CY, Q00, Q01, Q10, Q11, GX, GY, Z, OPACITY = range(10)
RATIO_MAX, DEPTH_LOW, DEPTH_HIGH = range(10, 13)
"""Largest w that counts as a hit (0 for edge-on splats: none does), and the range of 1 / w that depth is clamped to."""
COLUMNS = 16
"""One cache line."""

# The bounding box is grown by this much [px] against rounding between double precision here and single in the kernels.
_MARGIN_PX = 0.02


def project(
    splats: Splats, camera: Camera, colors: Tensor, logits: Tensor, cull_backfaces: bool
) -> tuple[Float[Tensor, "N 16"], Float[Tensor, "N 3"], Int32[Tensor, "N 4"]]:
    """Screen-space rows, normals that face the camera (camera axes), and pixel bounds x0, x1, y0, y1 (end exclusive).

    Bounds are empty for splats that are dropped or outside the picture, and their rows and normals are zero. `colors` and
    `logits` (N, any number) are only looked at for values that cannot be blended.
    """
    T, K = camera.T_camera_world, camera.K
    view = np.concatenate([T[:3, :3].ravel(), T[:3, 3], K[:2, :2].ravel(), K[:2, 2], [camera.width, camera.height]])
    features = colors.detach(), logits.detach()
    return _Project.apply(splats.means, splats.quats, splats.scales, splats.opacities, features, view, cull_backfaces)


def as_array(tensor: Tensor) -> np.ndarray:
    """The tensor's values, C-contiguous; a view where it already is."""
    return tensor.detach().contiguous().numpy()


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, quats, scales, opacities, features, view, cull_backfaces):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(means, quats, scales, opacities)
        n = len(means)
        rows, normals = np.zeros((n, COLUMNS), np.float32), np.zeros((n, 3), np.float32)
        bounds, turned = np.zeros((n, 4), np.int32), np.zeros(n, np.float32)
        _project_splats(
            as_array(means), as_array(quats), as_array(scales), as_array(opacities),
            as_array(features[0]), as_array(features[1]), view, cull_backfaces, rows, normals, bounds, turned,
        )  # fmt: skip
        ctx.view, ctx.turned = view, turned
        outputs = torch.from_numpy(rows), torch.from_numpy(normals), torch.from_numpy(bounds)
        ctx.mark_non_differentiable(outputs[2])
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rows, grad_normals, _grad_bounds):
        means, quats, scales, opacities = (as_array(t) for t in ctx.saved_tensors)
        n = len(means)
        grad_rows = np.zeros((n, COLUMNS), np.float32) if grad_rows is None else as_array(grad_rows)
        grad_normals = np.zeros((n, 3), np.float32) if grad_normals is None else as_array(grad_normals)
        grads = np.zeros_like(means), np.zeros_like(quats), np.zeros_like(scales), np.zeros_like(opacities)
        _project_backward(
            means, quats, scales, opacities, ctx.view, ctx.turned, grad_rows, grad_normals,
            grads[0], grads[1], grads[2], grads[3],
        )  # fmt: skip
        return (*map(torch.from_numpy, grads), None, None, None)


@kernel_part
def _rotation(w, x, y, z):
    """Rotation matrix of a unit quaternion, row by row."""
    return (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))  # fmt: skip


@kernel_part
def _rotate(R, x, y, z):
    return R[0] * x + R[1] * y + R[2] * z, R[3] * x + R[4] * y + R[5] * z, R[6] * x + R[7] * y + R[8] * z


@kernel_part
def _rotate_back(R, x, y, z):
    return R[0] * x + R[3] * y + R[6] * z, R[1] * x + R[4] * y + R[7] * z, R[2] * x + R[5] * y + R[8] * z


@kernel_part
def _bounded(values):
    """All finite and within PARAMETER_MAX?"""
    result = True
    for k in range(len(values)):
        result &= abs(values[k]) <= PARAMETER_MAX
    return result


@kernel_part
def _well_formed(means, quats, scales, opacities, colors, logits, i):
    shape = _bounded(means[i]) and _bounded(quats[i]) and _bounded(scales[i]) and _bounded(opacities[i : i + 1])
    thick = scales[i, 0] >= SCALE_MIN_M and scales[i, 1] >= SCALE_MIN_M
    return shape and thick and opacities[i] >= ALPHA_MIN and _bounded(colors[i]) and _bounded(logits[i])


@kernel_part
def _view(view):
    """Rotation, translation and the 2 x 2 part of K as scalars, in double precision."""
    R = (view[0], view[1], view[2], view[3], view[4], view[5], view[6], view[7], view[8])
    return R, (view[9], view[10], view[11]), (view[12], view[13], view[14], view[15])


@kernel_part
def _in_camera(means, quats, i, R, t):
    """Centre, quaternion (unit) and its norm, and the columns of the camera-frame rotation of splat i."""
    x, y, z = _rotate(R, float(means[i, 0]), float(means[i, 1]), float(means[i, 2]))
    qw, qx, qy, qz = float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3])
    norm = math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
    inverse = 1 / max(norm, QUATERNION_NORM_MIN)
    q = (qw * inverse, qx * inverse, qy * inverse, qz * inverse)
    S = _rotation(q[0], q[1], q[2], q[3])
    a, b, n = _rotate(R, S[0], S[3], S[6]), _rotate(R, S[1], S[4], S[7]), _rotate(R, S[2], S[5], S[8])
    return (x + t[0], y + t[1], z + t[2]), q, norm, a, b, n


@kernel_part
def _projected_tangent(K, mu, a):
    """K2 (a.xy - (mu.xy / mu.z) a.z): the tangent's image [px], times mu.z."""
    x, y = a[0] - mu[0] / mu[2] * a[2], a[1] - mu[1] / mu[2] * a[2]
    return K[0] * x + K[1] * y, K[2] * x + K[3] * y


@kernel_part
def _inverse_jacobian(ax, ay, bx, by, z):
    """Q = ([a b] / z)^-1 row by row, and whether the splat is seen too edge-on for it to be used."""
    det = ax * by - bx * ay
    if max(max(abs(ax), abs(ay)), max(abs(bx), abs(by))) * z >= SLOPE_MAX * abs(det):
        return (0.0, 0.0, 0.0, 0.0), True
    s = z / det
    return (by * s, -bx * s, -ay * s, ax * s), False


@kernel_part
def _extent(a, b, az, bz, z, radius):
    """Interval of (a U + b V) / (z + az U + bz V) over the disk |(U, V)| <= radius; infinite if that crosses z = 0."""
    d = radius * radius * (az * az + bz * bz) - z * z
    if d > -1e-6 * z * z:
        return -math.inf, math.inf
    centre = radius * radius * (a * az + b * bz) / d
    half = math.sqrt(max(centre * centre - radius * radius * (a * a + b * b) / d, 0.0))
    return centre - half, centre + half


@kernel_part
def _pixels(centre, low, high, reach, size):
    """Pixels whose centres lie within [low, high] or `reach` of the projected centre, cut to the picture."""
    low, high = centre + min(low, -reach) - _MARGIN_PX, centre + max(high, reach) + _MARGIN_PX
    first, last = math.ceil(max(low - 0.5, 0.0)), math.floor(min(high - 0.5, size - 1.0))
    return (int(first), int(last) + 1) if first <= last else (0, 0)


@parallel_kernel
def _project_splats(means, quats, scales, opacities, colors, logits, view, cull_backfaces, rows, normals, bounds, turned):
    R, t, K = _view(view)
    for i in prange(means.shape[0]):
        if not _well_formed(means, quats, scales, opacities, colors, logits, i):
            continue
        mu, _, norm, a, b, n = _in_camera(means, quats, i, R, t)
        away = n[0] * mu[0] + n[1] * mu[1] + n[2] * mu[2] > 0
        if mu[2] < NEAR_M or norm < QUATERNION_NORM_MIN or (away and cull_backfaces):
            continue
        su, sv, z = float(scales[i, 0]), float(scales[i, 1]), mu[2]
        a, b = (a[0] * su, a[1] * su, a[2] * su), (b[0] * sv, b[1] * sv, b[2] * sv)
        ax, ay = _projected_tangent(K, mu, a)
        bx, by = _projected_tangent(K, mu, b)
        cx = (K[0] * mu[0] + K[1] * mu[1]) / z + view[16]
        cy = (K[2] * mu[0] + K[3] * mu[1]) / z + view[17]
        Q, edge_on = _inverse_jacobian(ax, ay, bx, by, z)

        opacity = min(float(opacities[i]), 1.0)
        reach = math.sqrt(max(math.log(opacity / ALPHA_MIN), 0.0))  # of the low-pass [px]; sqrt(2) times that in sigmas
        radius = math.sqrt(2.0) * reach
        x_low, x_high = _extent(ax, bx, a[2], b[2], z, radius)
        y_low, y_high = _extent(ay, by, a[2], b[2], z, radius)
        x0, x1 = _pixels(cx, x_low, x_high, reach, view[18])
        y0, y1 = _pixels(cy, y_low, y_high, reach, view[19])
        if x1 <= x0 or y1 <= y0:
            continue
        bounds[i, 0], bounds[i, 1], bounds[i, 2], bounds[i, 3] = x0, x1, y0, y1
        turned[i] = -1.0 if away else 1.0
        for k in range(3):
            normals[i, k] = -n[k] if away else n[k]

        row = rows[i]
        row[CX], row[CY], row[Z], row[OPACITY] = cx, cy, z, opacity
        row[Q00], row[Q01], row[Q10], row[Q11] = Q
        row[GX], row[GY] = -(Q[0] * a[2] + Q[2] * b[2]) / z, -(Q[1] * a[2] + Q[3] * b[2]) / z
        support = SUPPORT_SIGMA * math.sqrt(a[2] * a[2] + b[2] * b[2]) / z + SUPPORT_SLACK
        row[RATIO_MAX] = 0.0 if edge_on else z / NEAR_M
        row[DEPTH_LOW], row[DEPTH_HIGH] = max(1 - support, NEAR_M / z), min(1 + support, 0.999 / RATIO_MIN)


@kernel_part
def _tangent_backward(K, mu, a, grad_x, grad_y):
    """Of _projected_tangent: gradients of a (3) and of (mu.x / mu.z, mu.y / mu.z)."""
    gx, gy = K[0] * grad_x + K[2] * grad_y, K[1] * grad_x + K[3] * grad_y
    return gx, gy, -(mu[0] * gx + mu[1] * gy) / mu[2], -a[2] * gx, -a[2] * gy


@kernel_part
def _rotation_backward(q, norm, a, b, n):
    """Gradient of the raw quaternion, given the gradients of the rotation's columns a, b, n in the world frame."""
    w, x, y, z = q
    gw = 2 * (z * (a[1] - b[0]) + y * (n[0] - a[2]) + x * (b[2] - n[1]))
    gx = 2 * (y * (a[1] + b[0]) + z * (a[2] + n[0]) + w * (b[2] - n[1]) - 2 * x * (b[1] + n[2]))
    gy = 2 * (x * (a[1] + b[0]) + z * (b[2] + n[1]) + w * (n[0] - a[2]) - 2 * y * (a[0] + n[2]))
    gz = 2 * (x * (a[2] + n[0]) + y * (b[2] + n[1]) + w * (a[1] - b[0]) - 2 * z * (a[0] + b[1]))
    along = gw * w + gx * x + gy * y + gz * z
    return (gw - w * along) / norm, (gx - x * along) / norm, (gy - y * along) / norm, (gz - z * along) / norm


@parallel_kernel
def _project_backward(
    means, quats, scales, opacities, view, turned, grad_rows, grad_normals, grad_means, grad_quats, grad_scales, grad_opacities
):
    R, t, K = _view(view)
    for i in prange(means.shape[0]):
        if turned[i] == 0:  # dropped
            continue
        grad = grad_rows[i]
        mu, q, norm, a, b, _ = _in_camera(means, quats, i, R, t)
        su, sv, z = float(scales[i, 0]), float(scales[i, 1]), mu[2]
        A, B = (a[0] * su, a[1] * su, a[2] * su), (b[0] * sv, b[1] * sv, b[2] * sv)
        ax, ay = _projected_tangent(K, mu, A)
        bx, by = _projected_tangent(K, mu, B)
        Q, edge_on = _inverse_jacobian(ax, ay, bx, by, z)
        gA, gB, gz = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), float(grad[Z])
        # c = K2 (mu.x / mu.z, mu.y / mu.z) + c0
        gx, gy = K[0] * grad[CX] + K[2] * grad[CY], K[1] * grad[CX] + K[3] * grad[CY]
        if not edge_on:
            # g = -Q^T h
            h0, h1, g0, g1 = A[2] / z, B[2] / z, float(grad[GX]), float(grad[GY])
            P00, P01, P10, P11 = grad[Q00] - h0 * g0, grad[Q01] - h0 * g1, grad[Q10] - h1 * g0, grad[Q11] - h1 * g1
            gh0, gh1 = -(Q[0] * g0 + Q[1] * g1), -(Q[2] * g0 + Q[3] * g1)
            # Q = J^-1: grad J = -Q^T P Q^T
            L00, L01, L10, L11 = (
                P00 * Q[0] + P01 * Q[1],
                P00 * Q[2] + P01 * Q[3],
                P10 * Q[0] + P11 * Q[1],
                P10 * Q[2] + P11 * Q[3],
            )
            J00, J01 = -(Q[0] * L00 + Q[2] * L10), -(Q[0] * L01 + Q[2] * L11)
            J10, J11 = -(Q[1] * L00 + Q[3] * L10), -(Q[1] * L01 + Q[3] * L11)
            gax, gay, gaz, ax_x, ax_y = _tangent_backward(K, mu, A, J00 / z, J10 / z)
            gbx, gby, gbz, bx_x, bx_y = _tangent_backward(K, mu, B, J01 / z, J11 / z)
            gA, gB = (gax, gay, gaz + gh0 / z), (gbx, gby, gbz + gh1 / z)
            gx, gy = gx + ax_x + bx_x, gy + ax_y + bx_y
            gz -= (ax * J00 + ay * J10 + bx * J01 + by * J11) / (z * z) + (h0 * gh0 + h1 * gh1) / z
        gmu = _rotate_back(R, gx / z, gy / z, gz - (mu[0] * gx + mu[1] * gy) / (z * z))
        grad_means[i, 0], grad_means[i, 1], grad_means[i, 2] = gmu
        grad_scales[i, 0] = a[0] * gA[0] + a[1] * gA[1] + a[2] * gA[2]
        grad_scales[i, 1] = b[0] * gB[0] + b[1] * gB[1] + b[2] * gB[2]
        grad_opacities[i] = grad[OPACITY] if opacities[i] <= 1 else 0.0
        gn = turned[i]
        grad_quats[i, 0], grad_quats[i, 1], grad_quats[i, 2], grad_quats[i, 3] = _rotation_backward(
            q, norm,
            _rotate_back(R, gA[0] * su, gA[1] * su, gA[2] * su),
            _rotate_back(R, gB[0] * sv, gB[1] * sv, gB[2] * sv),
            _rotate_back(R, grad_normals[i, 0] * gn, grad_normals[i, 1] * gn, grad_normals[i, 2] * gn),
        )  # fmt: skip
