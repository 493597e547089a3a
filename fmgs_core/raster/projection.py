"""World-frame splats to screen-space rows, forward and backward, sixteen splats at a time.

With pixels counted from the projected centre, d = p - c, the adjugate of M collapses to (rasterizer maths of 2DGS):

    [u v]^T = Q d / w,   w = 1 + g . d,   z = z_centre / w

where J = [a b] / z_centre holds the projected tangents, Q = J^-1, g = -Q^T h and h = (tangents' camera z) / z_centre.
"""

import math

import numpy as np
from jaxtyping import Float32
from numba import prange

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
from fmgs_core.raster.simd import (
    LANES,
    floor_of,
    full,
    gather,
    lanes,
    larger,
    magnitude,
    root,
    smaller,
    store,
    take_next,
    where,
)
from fmgs_core.types import Camera

# Columns of a splat's screen-space row, one cache line. All but RATIO_MAX, DEPTH_LOW and DEPTH_HIGH are differentiable.
CX, CY, Q00, Q01, Q10, Q11, GX, GY, Z, OPACITY, RATIO_MAX, DEPTH_LOW, DEPTH_HIGH, NX, NY, NZ = range(16)
"""RATIO_MAX: largest w that counts as a hit (0 for edge-on splats: none does). DEPTH_LOW, DEPTH_HIGH: the range of 1 / w that
depth is clamped to. NX, NY, NZ: the normal in camera axes, turned towards the camera."""
COLUMNS = 16

# The bounding box is grown by this much [px], and by this share of its size, against rounding here and in the kernels.
_MARGIN_PX = 0.02
_MARGIN = 1e-3
_ENDLESS = 1e30

# ln(1.5 + t) by its series: at most 2e-4 too small at the ends of [-0.5, 0.5], and an eighth of what is made of it.
_LOG = (math.log(1.5), *(-((-1 / 1.5) ** k) / k for k in range(1, 8)))
_LOG_SLACK = 2e-3

# Groups of sixteen splats that a worker takes at once.
_BATCH = 16


def view_of(camera: Camera) -> Float32[np.ndarray, "20"]:
    """Rotation (9), translation (3), the 2 x 2 part of K (4), its last column (2), width and height."""
    T, K = camera.T_camera_world, camera.K
    view = [T[:3, :3].ravel(), T[:3, 3], K[:2, :2].ravel(), K[:2, 2], [camera.width, camera.height]]
    return np.concatenate(view, dtype=np.float32, casting="same_kind")


@parallel_kernel
def project(
    means, quats, scales, opacities, colors, logits, view, cull_backfaces, with_normals, workers, counter,
    rows, bounds, depths, features,
):  # fmt: skip
    """Writes the rows, pixel bounds x0, x1, y0, y1 (end exclusive), depths and features of the splats that are seen.

    Bounds of all others are empty, and the rest is left as it is. Features are colours, normals and logits side by side,
    each padded with zeros to a multiple of four. `workers`: number of threads; `counter` is zero.
    """
    groups = -(-len(means) // LANES)
    for _ in prange(workers):
        index, columns = np.empty(LANES, np.int32), np.empty((COLUMNS + 4) * LANES, np.float32)
        batch = take_next(counter)
        while batch * _BATCH < groups:
            for group in range(batch * _BATCH, min((batch + 1) * _BATCH, groups)):
                begin, end = group * LANES, min((group + 1) * LANES, len(means))
                for lane in range(LANES):
                    index[lane] = min(begin + lane, end - 1)
                seen = _project_sixteen(means, quats, scales, opacities, colors, logits, view, cull_backfaces, index, columns)
                for lane in range(end - begin):
                    i = np.uint32(begin + lane)  # unsigned: numba need not test for indices from the end
                    if (seen >> lane) & 1:
                        _keep(columns, np.uint32(lane), i, rows, bounds)
                        depths[i] = rows[i, Z]
                        _keep_features(rows, colors, logits, with_normals, i, features)
                    else:
                        bounds[i, 0], bounds[i, 1], bounds[i, 2], bounds[i, 3] = 0, 0, 0, 0
            batch = take_next(counter)


@kernel_part
def _keep(columns, lane, i, rows, bounds):
    for k in range(4):
        bounds[i, k] = np.int32(columns[(COLUMNS + k) * LANES + lane])
    for k in range(COLUMNS):
        rows[i, k] = columns[k * LANES + lane]


@kernel_part
def _keep_features(rows, colors, logits, with_normals, i, features):
    at = 0
    if colors.shape[1]:
        for c in range(3):
            features[i, c] = colors[i, c]
        features[i, 3] = 0
        at = 4
    if with_normals:
        for c in range(3):
            features[i, at + c] = rows[i, NX + c]
        features[i, at + 3] = 0
        at += 4
    for c in range(logits.shape[1]):
        features[i, at + c] = logits[i, c]
    for c in range(at + logits.shape[1], features.shape[1]):
        features[i, c] = 0


@kernel_part
def _project_sixteen(means, quats, scales, opacities, colors, logits, view, cull_backfaces, index, columns):
    """Columns of the rows and of the bounds of sixteen splats, and a bit for each that is seen."""
    K = _focal_of(view)
    mu, _, norm, a, b, n = _in_camera(means, quats, index, view)
    away = _dot(n, mu) > 0.0
    seen = (mu[2] >= NEAR_M) & (norm >= QUATERNION_NORM_MIN)
    if cull_backfaces:
        seen = seen & (_dot(n, mu) <= 0.0)
    if lanes(seen) == 0:
        return 0
    o = gather(opacities, 1, 0, index)
    seen = seen & (gather(scales, 2, 0, index) >= SCALE_MIN_M) & (gather(scales, 2, 1, index) >= SCALE_MIN_M)
    seen = seen & _bounded(means, index) & _bounded(quats, index) & _bounded(scales, index)
    seen = seen & (o >= ALPHA_MIN) & (o <= PARAMETER_MAX) & _bounded(colors, index) & _bounded(logits, index)

    a, b = _scaled(a, _column(scales, 0, index)), _scaled(b, _column(scales, 1, index))
    z = mu[2]
    inverse_z = 1.0 / z
    ax, ay = _projected_tangent(K, mu, inverse_z, a)
    bx, by = _projected_tangent(K, mu, inverse_z, b)
    q00, q01, q10, q11, facing = _inverse_jacobian(ax, ay, bx, by, z)
    cx = (mu[0] * K[0] + mu[1] * K[1]) * inverse_z + view[16]
    cy = (mu[0] * K[2] + mu[1] * K[3]) * inverse_z + view[17]
    gx, gy = -(q00 * a[2] + q10 * b[2]) * inverse_z, -(q01 * a[2] + q11 * b[2]) * inverse_z

    opacity = smaller(o, full(1.0))
    reach_squared = _log_above(larger(opacity * (1 / ALPHA_MIN), full(1.0)))
    reach, radius = root(reach_squared), root(reach_squared * 2.0)  # of the low-pass [px]; in standard deviations
    x0, x1 = _pixels(cx, _extent(ax, bx, a[2], b[2], z, radius), reach, view[18])
    y0, y1 = _pixels(cy, _extent(ay, by, a[2], b[2], z, radius), reach, view[19])
    seen = seen & (x0 < x1) & (y0 < y1)

    support = root(a[2] * a[2] + b[2] * b[2]) * inverse_z * SUPPORT_SIGMA + SUPPORT_SLACK
    side = where(away, full(-1.0), full(1.0))
    store(columns, CX * LANES, cx)
    store(columns, CY * LANES, cy)
    store(columns, Q00 * LANES, q00)
    store(columns, Q01 * LANES, q01)
    store(columns, Q10 * LANES, q10)
    store(columns, Q11 * LANES, q11)
    store(columns, GX * LANES, gx)
    store(columns, GY * LANES, gy)
    store(columns, Z * LANES, z)
    store(columns, OPACITY * LANES, opacity)
    store(columns, RATIO_MAX * LANES, where(facing, z * (1 / NEAR_M), full(0.0)))
    store(columns, DEPTH_LOW * LANES, larger(1.0 - support, inverse_z * NEAR_M))
    store(columns, DEPTH_HIGH * LANES, smaller(1.0 + support, full(0.999 / RATIO_MIN)))
    store(columns, NX * LANES, n[0] * side)
    store(columns, NY * LANES, n[1] * side)
    store(columns, NZ * LANES, n[2] * side)
    store(columns, COLUMNS * LANES, x0)
    store(columns, (COLUMNS + 1) * LANES, x1)
    store(columns, (COLUMNS + 2) * LANES, y0)
    store(columns, (COLUMNS + 3) * LANES, y1)
    return lanes(seen)


@parallel_kernel
def project_backward(
    means, quats, scales, opacities, view, seen, workers, counter, grad_rows,
    grad_means, grad_quats, grad_scales, grad_opacities,
):  # fmt: skip
    """Gradients of the splats listed in `seen` (ascending), of whose rows `grad_rows` are; those of all others are zero."""
    batch_size = _BATCH * LANES
    for _ in prange(workers):
        index, place, columns = np.empty(LANES, np.int32), np.empty(LANES, np.int32), np.empty(10 * LANES, np.float32)
        batch = take_next(counter)
        while batch * batch_size < max(len(seen), 1):
            low, high = range_of_batch(seen, batch, batch_size, len(means))
            grad_means[low:high], grad_quats[low:high], grad_scales[low:high], grad_opacities[low:high] = 0, 0, 0, 0
            for begin in range(batch * batch_size, min((batch + 1) * batch_size, len(seen)), LANES):
                end = min(begin + LANES, len(seen))
                for lane in range(LANES):
                    place[lane] = min(begin + lane, end - 1)
                    index[lane] = seen[place[lane]]
                _sixteen_backward(means, quats, scales, opacities, view, grad_rows, index, place, columns)
                for lane in range(end - begin):
                    i = np.uint32(index[lane])
                    for k in range(3):
                        grad_means[i, k] = columns[k * LANES + lane]
                    for k in range(4):
                        grad_quats[i, k] = columns[(3 + k) * LANES + lane]
                    for k in range(2):
                        grad_scales[i, k] = columns[(7 + k) * LANES + lane]
                    grad_opacities[i] = columns[9 * LANES + lane]
            batch = take_next(counter)


@kernel_part
def range_of_batch(seen, batch, size, count):
    """Splats from the batch's first of `seen` up to the next batch's: these ranges share out all splats."""
    low = seen[batch * size] if batch else 0
    high = seen[(batch + 1) * size] if (batch + 1) * size < len(seen) else count
    return low, high


@kernel_part
def _sixteen_backward(means, quats, scales, opacities, view, grad_rows, index, place, columns):
    """Gradients of means (3 columns), quats (4), scales (2) and opacities (1)."""
    R, K = _rotation_of(view), _focal_of(view)
    mu, q, norm, a, b, n = _in_camera(means, quats, index, view)
    su, sv = _column(scales, 0, index), _column(scales, 1, index)
    A, B, inverse_z = _scaled(a, su), _scaled(b, sv), 1.0 / mu[2]
    ax, ay = _projected_tangent(K, mu, inverse_z, A)
    bx, by = _projected_tangent(K, mu, inverse_z, B)
    # Zero for edge-on splats, of which only the centre, depth and opacity then have gradients.
    q00, q01, q10, q11, _ = _inverse_jacobian(ax, ay, bx, by, mu[2])
    # c = K2 (mu.x / mu.z, mu.y / mu.z) + c0
    grad_cx, grad_cy = _column(grad_rows, CX, place), _column(grad_rows, CY, place)
    gx, gy = grad_cx * K[0] + grad_cy * K[2], grad_cx * K[1] + grad_cy * K[3]
    # g = -Q^T h
    h0, h1 = A[2] * inverse_z, B[2] * inverse_z
    g0, g1 = _column(grad_rows, GX, place), _column(grad_rows, GY, place)
    p00, p01 = _column(grad_rows, Q00, place) - h0 * g0, _column(grad_rows, Q01, place) - h0 * g1
    p10, p11 = _column(grad_rows, Q10, place) - h1 * g0, _column(grad_rows, Q11, place) - h1 * g1
    gh0, gh1 = -(q00 * g0 + q01 * g1) * inverse_z, -(q10 * g0 + q11 * g1) * inverse_z
    # Q = J^-1: grad J = -Q^T P Q^T
    l00, l01, l10, l11 = p00 * q00 + p01 * q01, p00 * q10 + p01 * q11, p10 * q00 + p11 * q01, p10 * q10 + p11 * q11
    j00, j01 = -(q00 * l00 + q10 * l10) * inverse_z, -(q00 * l01 + q10 * l11) * inverse_z
    j10, j11 = -(q01 * l00 + q11 * l10) * inverse_z, -(q01 * l01 + q11 * l11) * inverse_z
    gax, gay, gaz, ax_x, ax_y = _tangent_backward(K, mu, inverse_z, A, j00, j10)
    gbx, gby, gbz, bx_x, bx_y = _tangent_backward(K, mu, inverse_z, B, j01, j11)
    gA, gB = (gax, gay, gaz + gh0), (gbx, gby, gbz + gh1)
    gx, gy = gx + ax_x + bx_x, gy + ax_y + bx_y
    gz = _column(grad_rows, Z, place)
    gz -= (ax * j00 + ay * j10 + bx * j01 + by * j11) * inverse_z + h0 * gh0 + h1 * gh1
    gz -= (mu[0] * gx + mu[1] * gy) * inverse_z * inverse_z
    gmu = _rotate_back(R, (gx * inverse_z, gy * inverse_z, gz))
    side = where(_dot(n, mu) > 0.0, full(-1.0), full(1.0))
    gn = (
        _column(grad_rows, NX, place) * side,
        _column(grad_rows, NY, place) * side,
        _column(grad_rows, NZ, place) * side,
    )
    gq = _rotation_backward(q, norm, _rotate_back(R, _scaled(gA, su)), _rotate_back(R, _scaled(gB, sv)), _rotate_back(R, gn))
    for k in range(3):
        store(columns, k * LANES, gmu[k])
    for k in range(4):
        store(columns, (3 + k) * LANES, gq[k])
    store(columns, 7 * LANES, _dot(a, gA))
    store(columns, 8 * LANES, _dot(b, gB))
    o = gather(opacities, 1, 0, index)
    store(columns, 9 * LANES, where(o <= 1.0, gather(grad_rows, COLUMNS, OPACITY, place), full(0.0)))


@kernel_part
def _rotation_of(view):
    return view[0], view[1], view[2], view[3], view[4], view[5], view[6], view[7], view[8]


@kernel_part
def _focal_of(view):
    return view[12], view[13], view[14], view[15]


@kernel_part
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel_part
def _scaled(a, s):
    return a[0] * s, a[1] * s, a[2] * s


@kernel_part
def _rotate(R, v):
    x, y, z = v
    return x * R[0] + y * R[1] + z * R[2], x * R[3] + y * R[4] + z * R[5], x * R[6] + y * R[7] + z * R[8]


@kernel_part
def _rotate_back(R, v):
    x, y, z = v
    return x * R[0] + y * R[3] + z * R[6], x * R[1] + y * R[4] + z * R[7], x * R[2] + y * R[5] + z * R[8]


@kernel_part
def _bounded(values, index):
    """All finite and within PARAMETER_MAX?"""
    result = full(0.0) <= 0.0
    for k in range(values.shape[1]):
        result = result & (magnitude(gather(values, values.shape[1], k, index)) <= PARAMETER_MAX)
    return result


@kernel_part
def _column(values, column, index):
    return gather(values, values.shape[1], column, index)


@kernel_part
def _in_camera(means, quats, index, view):
    """Centre, quaternion (unit) and its norm, and the columns of the camera-frame rotation of sixteen splats."""
    R = _rotation_of(view)
    x, y, z = _rotate(R, (_column(means, 0, index), _column(means, 1, index), _column(means, 2, index)))
    mu = (x + view[9], y + view[10], z + view[11])
    w, x = _column(quats, 0, index), _column(quats, 1, index)
    y, z = _column(quats, 2, index), _column(quats, 3, index)
    norm = root(w * w + x * x + y * y + z * z)
    inverse = 1.0 / larger(norm, full(QUATERNION_NORM_MIN))
    w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
    a = _rotate(R, (1.0 - (y * y + z * z) * 2.0, (x * y + w * z) * 2.0, (x * z - w * y) * 2.0))
    b = _rotate(R, ((x * y - w * z) * 2.0, 1.0 - (x * x + z * z) * 2.0, (y * z + w * x) * 2.0))
    n = _rotate(R, ((x * z + w * y) * 2.0, (y * z - w * x) * 2.0, 1.0 - (x * x + y * y) * 2.0))
    return mu, (w, x, y, z), norm, a, b, n


@kernel_part
def _projected_tangent(K, mu, inverse_z, a):
    """K2 (a.xy - (mu.xy / mu.z) a.z): the tangent's image [px], times mu.z."""
    x, y = a[0] - mu[0] * inverse_z * a[2], a[1] - mu[1] * inverse_z * a[2]
    return x * K[0] + y * K[1], x * K[2] + y * K[3]


@kernel_part
def _tangent_backward(K, mu, inverse_z, a, grad_x, grad_y):
    """Of _projected_tangent: gradients of a (3) and of (mu.x / mu.z, mu.y / mu.z)."""
    gx, gy = grad_x * K[0] + grad_y * K[2], grad_x * K[1] + grad_y * K[3]
    return gx, gy, -(mu[0] * gx + mu[1] * gy) * inverse_z, -a[2] * gx, -a[2] * gy


@kernel_part
def _inverse_jacobian(ax, ay, bx, by, z):
    """Q = ([a b] / z)^-1 row by row, or zero where the splat is seen too edge-on for it to be used; and where it is not."""
    det = ax * by - bx * ay
    most = larger(larger(magnitude(ax), magnitude(ay)), larger(magnitude(bx), magnitude(by)))
    facing = most * z < magnitude(det) * SLOPE_MAX
    s = where(facing, z / det, full(0.0))
    return by * s, -bx * s, -ay * s, ax * s, facing


@kernel_part
def _log_above(x):
    """ln(x) on [1, 256] from the logarithm of x^(1/8), and a little more: it bounds a box."""
    t = root(root(root(x))) - 1.5
    p = t * _LOG[7] + _LOG[6]
    p = t * p + _LOG[5]
    p = t * p + _LOG[4]
    p = t * p + _LOG[3]
    p = t * p + _LOG[2]
    p = t * p + _LOG[1]
    p = t * p + _LOG[0]
    return p * 8.0 + _LOG_SLACK


@kernel_part
def _extent(a, b, az, bz, z, radius):
    """Interval of (a U + b V) / (z + az U + bz V) over the disk |(U, V)| <= radius; endless if that crosses z = 0."""
    r2 = radius * radius
    d = z * z - r2 * (az * az + bz * bz)
    whole = d > z * z * 1e-5
    inverse = 1.0 / d
    cross, length = a * bz - b * az, (a * a + b * b) * z * z
    centre = -r2 * (a * az + b * bz) * inverse
    half = (root(larger(length - r2 * cross * cross, full(0.0))) + root(length) * _MARGIN) * radius * inverse
    return where(whole, centre - half, full(-_ENDLESS)), where(whole, centre + half, full(_ENDLESS))


@kernel_part
def _pixels(centre, extent, reach, size):
    """Pixels whose centres lie within the extent or `reach` of the projected centre, cut to the picture."""
    low = centre + smaller(extent[0], -reach) - (_MARGIN_PX + 0.5)
    high = centre + larger(extent[1], reach) + (_MARGIN_PX - 0.5)
    return -floor_of(-larger(low, full(0.0))), floor_of(smaller(high, full(size - 1.0))) + 1.0


@kernel_part
def _rotation_backward(q, norm, a, b, n):
    """Gradient of the raw quaternion, given the gradients of the rotation's columns a, b, n in the world frame."""
    w, x, y, z = q
    gw = (z * (a[1] - b[0]) + y * (n[0] - a[2]) + x * (b[2] - n[1])) * 2.0
    gx = (y * (a[1] + b[0]) + z * (a[2] + n[0]) + w * (b[2] - n[1]) - x * (b[1] + n[2]) * 2.0) * 2.0
    gy = (x * (a[1] + b[0]) + z * (b[2] + n[1]) + w * (n[0] - a[2]) - y * (a[0] + n[2]) * 2.0) * 2.0
    gz = (x * (a[2] + n[0]) + y * (b[2] + n[1]) + w * (a[1] - b[0]) - z * (a[0] + b[1]) * 2.0) * 2.0
    along, inverse = gw * w + gx * x + gy * y + gz * z, 1.0 / norm
    return (gw - w * along) * inverse, (gx - x * along) * inverse, (gy - y * along) * inverse, (gz - z * along) * inverse
