"""Blending of one tile, forward and backward, a block of 4 x 4 pixels at a time.

A splat a few pixels wide touches few such blocks, so that most lanes do work that counts. Per-tile buffers are flat: block b
of quantity c of a tile with Q quantities starts at (b * Q + c) * 16. Quantities are the features, padded to a multiple of
four, and the depth if asked for. The formulas are those of projection.py, the thresholds those of constants.py.
"""

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from fmgs_core.raster.constants import ALPHA_MAX, ALPHA_MIN, LOW_PASS, RATIO_MIN, TRANSMITTANCE_MIN
from fmgs_core.raster.kernel import kernel_part
from fmgs_core.raster.projection import (
    CX,
    CY,
    DEPTH_HIGH,
    DEPTH_LOW,
    GX,
    GY,
    OPACITY,
    Q00,
    Q01,
    Q10,
    Q11,
    RATIO_MAX,
    Z,
)
from fmgs_core.raster.simd import (
    BLOCK,
    LANES,
    any_lane,
    block_x,
    block_y,
    full,
    lane_sum,
    larger,
    load,
    smaller,
    store,
    store_sums,
    where,
)
from fmgs_core.raster.tiles import TILE

BLOCKS = TILE * TILE // LANES

# Sums over pixels that the backward pass leaves per pair of tile and splat, from which `unfold_sums` makes the gradient of the
# splat's row: gradients of Q d (U, V) and of w (W), each as it is and times d; of the low-pass times d; of the opacity; of the
# centre's depth. Those of the features stand where `first_feature_sum` says.
U_1, V_1, W_1, U_X, U_Y, V_X, V_Y, W_X, W_Y, L_X, L_Y, OPACITY_1 = range(12)
Z_1 = 15

_NO_HIT = 1e30
_EXPONENT_MAX = 8.0  # exp(-8) is under ALPHA_MIN
# exp(-t) on [0, 1], interpolated at Chebyshev nodes: relative error 5e-8, where Taylor's polynomial has 5e-4.
_EXP = tuple(Chebyshev.interpolate(lambda t: np.exp(-t), 6, domain=[0, 1]).convert(kind=Polynomial).coef.tolist())
_HALF = np.float32(0.5)
_EVERY_BLOCK = (1 << BLOCKS) - 1


@kernel_part
def forward_tile(rows, bounds, features, members, begin, end, x0, y0, with_depth, transmittance, last, blended):
    """Composites members[begin:end]; returns the end of the range that was needed.

    Writes per pixel the remaining transmittance, the place in the range of the last contributor (-1: none), and the blended
    features, followed by the blended depth if asked for.
    """
    F = features.shape[1]
    stride = (F + 1) * LANES if with_depth else F * LANES
    _clear(stride, transmittance, last, blended)
    x, y = block_x() + (np.float32(x0) + _HALF), block_y() + (np.float32(y0) + _HALF)
    transparent = _EVERY_BLOCK  # one bit per block
    for k in range(begin, end):
        i = np.uint32(members[k])
        splat = _splat(rows, i)
        left, right, top, bottom = _blocks_of(bounds, i, x0, y0)
        for by in range(top, bottom):
            dy = y + (np.float32(BLOCK * by) - splat[1])
            for bx in range(left, right):
                b = by * BLOCK + bx
                if not (transparent >> b) & 1:
                    continue
                dx = x + (np.float32(BLOCK * bx) - splat[0])
                r, _, _, on_plane, on_screen = _distances(splat, dx, dy)
                alpha = smaller(_gaussian(on_plane, on_screen) * splat[8], full(ALPHA_MAX))
                before = load(transmittance, b * LANES)
                live = (alpha >= ALPHA_MIN) & (before >= TRANSMITTANCE_MIN)
                if not any_lane(live):
                    continue
                alpha = where(live, alpha, full(0.0))
                weight, behind = alpha * before, before * (1.0 - alpha)  # as the backward pass divides by
                store(transmittance, b * LANES, behind)
                store(last, b * LANES, where(live, full(np.float32(k - begin)), load(last, b * LANES)))
                at = b * stride
                for c in range(0, F, 4):
                    for q in range(4):
                        _add(blended, at + (c + q) * LANES, weight * features[i, c + q])
                if with_depth:
                    _add(blended, at + F * LANES, weight * (_clamped_depth(rows, i, r) * rows[i, Z]))
                if not any_lane(behind >= TRANSMITTANCE_MIN):
                    transparent &= ~(1 << b)
        if not transparent:
            return k + 1
    return end


@kernel_part
def first_feature_sum(geometry, widths):
    """Colours or normals, whichever come first, are padded to four: Z_1 stands in their padding."""
    if not geometry:
        return 0
    return Z_1 - 3 if widths[0] + widths[1] else Z_1 + 1


@kernel_part
def backward_tile(
    rows, bounds, features, members, begin, end, x0, y0, widths,
    transmittance, last, last_of_block, grad_blended, behind, weights, touched, sums,
):  # fmt: skip
    """Writes the pixel sums of every pair [begin, end) to its row of `sums`, walking back to front.

    `transmittance` holds what is left behind all splats and is used up; `behind` starts as that times the gradient of the
    transmittance, and gathers sum_j w_j (grad . feature_j) over the splats behind. `grad_blended` is laid out like
    `blended` of the forward pass. `weights` and `touched` are scratch.
    """
    F = features.shape[1]
    with_depth = widths[3] > 0
    stride = (F + 1) * LANES if with_depth else F * LANES
    x, y = block_x() + (np.float32(x0) + _HALF), block_y() + (np.float32(y0) + _HALF)
    zero = full(0.0)
    for k in range(end - 1, begin - 1, -1):
        i, place, to = np.uint32(members[k]), np.float32(k - begin), k * sums.shape[1]
        splat = _splat(rows, i)
        left, right, top, bottom = _blocks_of(bounds, i, x0, y0)
        u_1, v_1, w_1, u_x, u_y, v_x, v_y = zero, zero, zero, zero, zero, zero, zero
        w_x, w_y, l_x, l_y, opacity_1, z_1 = zero, zero, zero, zero, zero, zero
        touches = 0
        for by in range(top, bottom):
            dy = y + (np.float32(BLOCK * by) - splat[1])
            for bx in range(left, right):
                b = by * BLOCK + bx
                if place > last_of_block[b]:
                    continue
                dx = x + (np.float32(BLOCK * bx) - splat[0])
                r, u, v, on_plane, on_screen = _distances(splat, dx, dy)
                gaussian = _gaussian(on_plane, on_screen)
                unclamped = gaussian * splat[8]
                alpha = smaller(unclamped, full(ALPHA_MAX))
                live = (alpha >= ALPHA_MIN) & (load(last, b * LANES) >= place)
                if not any_lane(live):
                    continue
                alpha = where(live, alpha, zero)
                inverse = 1.0 / (1.0 - alpha)
                before = load(transmittance, b * LANES) * inverse
                weight = alpha * before
                store(transmittance, b * LANES, before)
                store(weights, touches * LANES, weight)
                touched[touches] = b
                touches += 1

                # dL/dweight = grad_blended . (features, depth); the depth also moves with w and with the centre.
                at = b * stride
                along = zero
                for c in range(0, F, 4):
                    for q in range(4):
                        along += load(grad_blended, at + (c + q) * LANES) * features[i, c + q]
                grad_w = zero
                if with_depth:
                    relative_depth = _clamped_depth(rows, i, r)
                    grad_relative = load(grad_blended, at + F * LANES) * relative_depth
                    along += grad_relative * rows[i, Z]
                    grad_relative *= weight
                    z_1 += grad_relative
                    grad_w = where(relative_depth == r, grad_relative * r * -rows[i, Z], zero)

                # dL/dalpha = before (grad . feature) - (what lies behind) / (1 - alpha)
                remainder = load(behind, b * LANES)
                store(behind, b * LANES, remainder + weight * along)
                grad_alpha = where(live & (unclamped < ALPHA_MAX), before * along - remainder * inverse, zero)
                opacity_1 += grad_alpha * gaussian
                grad_exponent = grad_alpha * -unclamped
                grad_plane = where(on_plane < on_screen, grad_exponent, zero)
                grad_screen = grad_exponent - grad_plane
                grad_u, grad_v = grad_plane * u, grad_plane * v
                grad_w -= (grad_u * u + grad_v * v) * r
                grad_u *= r
                grad_v *= r

                u_1 += grad_u
                v_1 += grad_v
                w_1 += grad_w
                u_x += grad_u * dx
                v_x += grad_v * dx
                w_x += grad_w * dx
                l_x += grad_screen * dx
                u_y += grad_u * dy
                v_y += grad_v * dy
                w_y += grad_w * dy
                l_y += grad_screen * dy
        store_sums(sums, to + U_1, u_1, v_1, w_1, u_x)
        store_sums(sums, to + U_Y, u_y, v_x, v_y, w_x)
        store_sums(sums, to + W_Y, w_y, l_x, l_y, opacity_1)
        if not widths[0] + widths[1]:
            store_sums(sums, to + Z_1 - 3, zero, zero, zero, z_1)
        _feature_sums(weights, touched, touches, grad_blended, F, stride, sums, to + first_feature_sum(True, widths))
        if widths[0] + widths[1]:
            sums[k, Z_1] = lane_sum(z_1)


@kernel_part
def backward_tile_features(
    rows,
    bounds,
    members,
    begin,
    end,
    x0,
    y0,
    F,
    with_depth,
    transmittance,
    last,
    last_of_block,
    grad_blended,
    weights,
    touched,
    sums,
):
    """The part of `backward_tile` that concerns the first F quantities alone, front to back."""
    stride = (F + 1) * LANES if with_depth else F * LANES
    x, y = block_x() + (np.float32(x0) + _HALF), block_y() + (np.float32(y0) + _HALF)
    for b in range(BLOCKS):
        store(transmittance, b * LANES, full(1.0))
    for k in range(begin, end):
        i, place = np.uint32(members[k]), np.float32(k - begin)
        splat = _splat(rows, i)
        left, right, top, bottom = _blocks_of(bounds, i, x0, y0)
        touches = 0
        for by in range(top, bottom):
            dy = y + (np.float32(BLOCK * by) - splat[1])
            for bx in range(left, right):
                b = by * BLOCK + bx
                if place > last_of_block[b]:
                    continue
                dx = x + (np.float32(BLOCK * bx) - splat[0])
                _, _, _, on_plane, on_screen = _distances(splat, dx, dy)
                alpha = smaller(_gaussian(on_plane, on_screen) * splat[8], full(ALPHA_MAX))
                live = (alpha >= ALPHA_MIN) & (load(last, b * LANES) >= place)
                if not any_lane(live):
                    continue
                before = load(transmittance, b * LANES)
                alpha = where(live, alpha, full(0.0))
                store(transmittance, b * LANES, before * (1.0 - alpha))
                store(weights, touches * LANES, alpha * before)
                touched[touches] = b
                touches += 1
        _feature_sums(weights, touched, touches, grad_blended, F, stride, sums, k * sums.shape[1])


@kernel_part
def last_contributors(last, last_of_block):
    """Largest of `last` in every block."""
    for b in range(BLOCKS):
        most = last[b * LANES]
        for lane in range(1, LANES):
            most = max(most, last[b * LANES + lane])
        last_of_block[b] = most


@kernel_part
def unfold_sums(rows, sums, i, grad):
    """Gradient of splat i's screen-space row from its pixel sums: d = p - c makes the centre's from the plain ones."""
    q00, q01, q10, q11, gx, gy = rows[i, Q00], rows[i, Q01], rows[i, Q10], rows[i, Q11], rows[i, GX], rows[i, GY]
    low_pass = np.float32(LOW_PASS)
    grad[CX] = -(q00 * sums[U_1] + q10 * sums[V_1] + gx * sums[W_1] + low_pass * sums[L_X])
    grad[CY] = -(q01 * sums[U_1] + q11 * sums[V_1] + gy * sums[W_1] + low_pass * sums[L_Y])
    grad[Q00], grad[Q01], grad[Q10], grad[Q11] = sums[U_X], sums[U_Y], sums[V_X], sums[V_Y]
    grad[GX], grad[GY], grad[Z], grad[OPACITY] = sums[W_X], sums[W_Y], sums[Z_1], sums[OPACITY_1]


@kernel_part
def _clear(stride, transmittance, last, blended):
    for b in range(BLOCKS):
        store(transmittance, b * LANES, full(1.0))
        store(last, b * LANES, full(-1.0))
    for c in range(stride):
        store(blended, c * LANES, full(0.0))


@kernel_part
def _add(array, at, row):
    store(array, at, load(array, at) + row)


@kernel_part
def _splat(rows, i):
    return (
        rows[i, CX], rows[i, CY], rows[i, Q00], rows[i, Q01], rows[i, Q10], rows[i, Q11],
        rows[i, GX], rows[i, GY], rows[i, OPACITY], rows[i, RATIO_MAX],
    )  # fmt: skip


@kernel_part
def _blocks_of(bounds, i, x0, y0):
    """Columns and rows of blocks, of the tile at (x0, y0), that splat i can reach."""
    left, right = max(bounds[i, 0] - x0, 0) >> 2, (min(bounds[i, 1] - x0, TILE) + 3) >> 2
    return left, right, max(bounds[i, 2] - y0, 0) >> 2, (min(bounds[i, 3] - y0, TILE) + 3) >> 2


@kernel_part
def _distances(splat, dx, dy):
    """1 / w, u, v, u^2 + v^2 (or _NO_HIT) and the low-pass's 2 |d|^2."""
    _, _, q00, q01, q10, q11, gx, gy, _, ratio_max = splat
    w = dx * gx + (dy * gy + 1.0)
    r = 1.0 / larger(w, full(RATIO_MIN))
    u, v = (dx * q00 + dy * q01) * r, (dx * q10 + dy * q11) * r
    hit = (w >= RATIO_MIN) & (w <= ratio_max)
    return r, u, v, where(hit, u * u + v * v, full(_NO_HIT)), (dx * dx + dy * dy) * LOW_PASS


@kernel_part
def _gaussian(on_plane, on_screen):
    """exp(-min / 2) as the eighth power of exp of an eighth; relative error under 2e-6, most of it rounding."""
    t = smaller(smaller(on_plane, on_screen) * (0.5 / 8), full(_EXPONENT_MAX / 8))
    p = t * _EXP[6] + _EXP[5]
    p = t * p + _EXP[4]
    p = t * p + _EXP[3]
    p = t * p + _EXP[2]
    p = t * p + _EXP[1]
    p = t * p + _EXP[0]
    p *= p
    p *= p
    return p * p


@kernel_part
def _clamped_depth(rows, i, r):
    """Depth on the splat's plane relative to its centre's, within the range of its support."""
    return smaller(larger(r, full(rows[i, DEPTH_LOW])), full(rows[i, DEPTH_HIGH]))


@kernel_part
def _feature_sums(weights, touched, touches, grad_blended, F, stride, sums, to):
    for c in range(0, F, 4):
        a, b, d, e = full(0.0), full(0.0), full(0.0), full(0.0)
        for j in range(touches):
            weight, at = load(weights, j * LANES), touched[j] * stride + c * LANES
            a += weight * load(grad_blended, at)
            b += weight * load(grad_blended, at + LANES)
            d += weight * load(grad_blended, at + 2 * LANES)
            e += weight * load(grad_blended, at + 3 * LANES)
        store_sums(sums, to + c, a, b, d, e)
