"""Front-to-back compositing of the splats of one tile, forward and backward, sixteen pixels at a time.

Per-tile buffers are flat: row y of quantity c of a tile with C quantities starts at (y * C + c) * 16. The formulas are
those of projection.py, the thresholds those of constants.py.
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
from fmgs_core.raster.simd import any_lane, full, lane_sum, larger, load, ramp, smaller, store, where
from fmgs_core.raster.tiles import TILE

# Sums over pixels that the backward pass leaves per splat, from which `unfold_sums` makes the gradient of its row: gradients
# of Q d (U, V) and of w (W), each as it is and times d; of the low-pass times d; of the opacity; of the centre's depth.
U_1, V_1, W_1, U_X, U_Y, V_X, V_Y, W_X, W_Y, L_X, L_Y, OPACITY_1, Z_1 = range(13)
SUMS = 16

_NO_HIT = 1e30
_EXPONENT_MAX = 8.0  # exp(-8) is under ALPHA_MIN
# exp(-t) on [0, 1], interpolated at Chebyshev nodes: relative error 5e-8, where Taylor's polynomial has 5e-4.
_EXP = tuple(Chebyshev.interpolate(lambda t: np.exp(-t), 6, domain=[0, 1]).convert(kind=Polynomial).coef.tolist())
_HALF = np.float32(0.5)
# How often to ask whether a tile has become opaque: the question costs about as much as one splat.
_OPAQUE_EVERY = 16


@kernel_part
def forward_tile(rows, bounds, features, members, begin, end, x0, y0, with_depth, transmittance, last, blended):
    """Composites members[begin:end]; returns the end of the range that was needed.

    Writes per pixel the remaining transmittance, the place in the range of the last contributor (-1: none), and the blended
    features, followed by the blended depth if asked for.
    """
    C = features.shape[1]
    stride = (C + 1) * TILE if with_depth else C * TILE
    _clear(stride, transmittance, last, blended)
    x = ramp() + (np.float32(x0) + _HALF)
    for k in range(begin, end):
        i = members[k]
        first_row, end_row = _rows_of(bounds, i, y0)
        _, dx2, ux, vx, wx = _column_terms(rows, i, x)
        for y in range(first_row, end_row):
            dy = np.float32(y0 + y) + _HALF - rows[i, CY]
            r, _, _, on_plane, on_screen = _distances(rows, i, dx2, ux, vx, wx, dy)
            alpha = smaller(_gaussian(on_plane, on_screen) * rows[i, OPACITY], full(ALPHA_MAX))
            before = load(transmittance, y * TILE)
            live = (alpha >= ALPHA_MIN) & (before >= TRANSMITTANCE_MIN)
            if not any_lane(live):
                continue
            alpha = where(live, alpha, full(0.0))
            weight = alpha * before
            store(transmittance, y * TILE, before * (1.0 - alpha))
            store(last, y * TILE, where(live, full(np.float32(k - begin)), load(last, y * TILE)))
            at = y * stride
            for c in range(C):
                store(blended, at + c * TILE, load(blended, at + c * TILE) + weight * features[i, c])
            if with_depth:
                depth = _clamped_depth(rows, i, r) * rows[i, Z]
                store(blended, at + C * TILE, load(blended, at + C * TILE) + weight * depth)
        if (k - begin) % _OPAQUE_EVERY == _OPAQUE_EVERY - 1 and _is_opaque(transmittance):
            return k + 1
    return end


@kernel_part
def backward_tile(
    rows, bounds, features, members, begin, end, x0, y0, with_depth,
    transmittance, last, grad_blended, behind, weights, row_sums, grad_features,
):  # fmt: skip
    """Adds the tile's share to every member's `row_sums` and `grad_features`, walking back to front.

    `transmittance` holds what is left behind all splats and is used up; `behind` starts as that times the gradient of the
    transmittance, and gathers sum_j w_j (grad . feature_j) over the splats behind. `grad_blended` is laid out like
    `blended` of the forward pass. `weights` is scratch.
    """
    C = features.shape[1]
    stride = (C + 1) * TILE if with_depth else C * TILE
    x = ramp() + (np.float32(x0) + _HALF)
    zero = full(0.0)
    for k in range(end - 1, begin - 1, -1):
        i = members[k]
        place = np.float32(k - begin)
        first_row, end_row = _rows_of(bounds, i, y0)
        dx, dx2, ux, vx, wx = _column_terms(rows, i, x)
        u_1, v_1, w_1, u_x, u_y, v_x, v_y = zero, zero, zero, zero, zero, zero, zero
        w_x, w_y, l_x, l_y, opacity_1, z_1 = zero, zero, zero, zero, zero, zero
        touched = False
        for y in range(first_row, end_row):
            dy = np.float32(y0 + y) + _HALF - rows[i, CY]
            r, u, v, on_plane, on_screen = _distances(rows, i, dx2, ux, vx, wx, dy)
            gaussian = _gaussian(on_plane, on_screen)
            unclamped = gaussian * rows[i, OPACITY]
            alpha = smaller(unclamped, full(ALPHA_MAX))
            live = (alpha >= ALPHA_MIN) & (load(last, y * TILE) >= place)
            if not any_lane(live):
                store(weights, y * TILE, zero)
                continue
            touched = True
            alpha = where(live, alpha, zero)
            inverse = 1.0 / (1.0 - alpha)
            before = load(transmittance, y * TILE) * inverse
            weight = alpha * before
            store(transmittance, y * TILE, before)
            store(weights, y * TILE, weight)

            # dL/dweight = grad_blended . (features, depth); the depth also moves with w and with the centre.
            at = y * stride
            along = zero
            for c in range(C):
                along += load(grad_blended, at + c * TILE) * features[i, c]
            grad_w = zero
            if with_depth:
                relative_depth = _clamped_depth(rows, i, r)
                grad_relative = load(grad_blended, at + C * TILE) * relative_depth
                along += grad_relative * rows[i, Z]
                grad_relative *= weight
                z_1 += grad_relative
                grad_w = where(relative_depth == r, grad_relative * r * -rows[i, Z], zero)

            # dL/dalpha = before (grad . feature) - (what lies behind) / (1 - alpha)
            remainder = load(behind, y * TILE)
            store(behind, y * TILE, remainder + weight * along)
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
        if touched:
            sums = row_sums[i]
            sums[U_1] += lane_sum(u_1)
            sums[V_1] += lane_sum(v_1)
            sums[W_1] += lane_sum(w_1)
            sums[U_X] += lane_sum(u_x)
            sums[U_Y] += lane_sum(u_y)
            sums[V_X] += lane_sum(v_x)
            sums[V_Y] += lane_sum(v_y)
            sums[W_X] += lane_sum(w_x)
            sums[W_Y] += lane_sum(w_y)
            sums[L_X] += lane_sum(l_x)
            sums[L_Y] += lane_sum(l_y)
            sums[OPACITY_1] += lane_sum(opacity_1)
            sums[Z_1] += lane_sum(z_1)
            _add_feature_gradients(weights, grad_blended, first_row, end_row, C, stride, grad_features[i])


@kernel_part
def backward_tile_features(
    rows, bounds, members, begin, end, x0, y0, features, transmittance, last, grad_blended, weights, grad_features
):
    """The part of `backward_tile` that concerns the first `features` quantities alone, front to back."""
    x = ramp() + (np.float32(x0) + _HALF)
    for y in range(TILE):
        store(transmittance, y * TILE, full(1.0))
    for k in range(begin, end):
        i = members[k]
        place = np.float32(k - begin)
        first_row, end_row = _rows_of(bounds, i, y0)
        _, dx2, ux, vx, wx = _column_terms(rows, i, x)
        touched = False
        for y in range(first_row, end_row):
            dy = np.float32(y0 + y) + _HALF - rows[i, CY]
            _, _, _, on_plane, on_screen = _distances(rows, i, dx2, ux, vx, wx, dy)
            alpha = smaller(_gaussian(on_plane, on_screen) * rows[i, OPACITY], full(ALPHA_MAX))
            live = (alpha >= ALPHA_MIN) & (load(last, y * TILE) >= place)
            alpha = where(live, alpha, full(0.0))
            before = load(transmittance, y * TILE)
            store(transmittance, y * TILE, before * (1.0 - alpha))
            store(weights, y * TILE, alpha * before)
            touched = touched or any_lane(live)
        if touched:
            _add_feature_gradients(weights, grad_blended, first_row, end_row, features, features * TILE, grad_features[i])


@kernel_part
def unfold_sums(rows, sums, i, grad):
    """Gradient of splat i's screen-space row from its pixel sums: d = p - c makes the centre's from the plain ones."""
    q00, q01, q10, q11, gx, gy = rows[i, Q00], rows[i, Q01], rows[i, Q10], rows[i, Q11], rows[i, GX], rows[i, GY]
    grad[CX] = -(q00 * sums[U_1] + q10 * sums[V_1] + gx * sums[W_1] + LOW_PASS * sums[L_X])
    grad[CY] = -(q01 * sums[U_1] + q11 * sums[V_1] + gy * sums[W_1] + LOW_PASS * sums[L_Y])
    grad[Q00], grad[Q01], grad[Q10], grad[Q11] = sums[U_X], sums[U_Y], sums[V_X], sums[V_Y]
    grad[GX], grad[GY], grad[Z], grad[OPACITY] = sums[W_X], sums[W_Y], sums[Z_1], sums[OPACITY_1]


@kernel_part
def _clear(stride, transmittance, last, blended):
    for y in range(TILE):
        store(transmittance, y * TILE, full(1.0))
        store(last, y * TILE, full(-1.0))
    for c in range(stride):
        store(blended, c * TILE, full(0.0))


@kernel_part
def _rows_of(bounds, i, y0):
    """Rows of the tile from y0 on that splat i can reach."""
    return max(bounds[i, 2] - y0, 0), min(bounds[i, 3] - y0, TILE)


@kernel_part
def _column_terms(rows, i, x):
    """What does not change from row to row: dx, dx^2, and the parts of Q d and w in dx."""
    dx = x - rows[i, CX]
    return dx, dx * dx, dx * rows[i, Q00], dx * rows[i, Q10], dx * rows[i, GX] + 1.0


@kernel_part
def _distances(rows, i, dx2, ux, vx, wx, dy):
    """1 / w, u, v, u^2 + v^2 (or _NO_HIT) and the low-pass's 2 |d|^2."""
    w = wx + rows[i, GY] * dy
    r = 1.0 / larger(w, full(RATIO_MIN))
    u, v = (ux + rows[i, Q01] * dy) * r, (vx + rows[i, Q11] * dy) * r
    hit = (w >= RATIO_MIN) & (w <= rows[i, RATIO_MAX])
    return r, u, v, where(hit, u * u + v * v, full(_NO_HIT)), (dx2 + dy * dy) * LOW_PASS


@kernel_part
def _gaussian(on_plane, on_screen):
    """exp(-min / 2) as the eighth power of exp of an eighth; relative error under 2e-6, most of it rounding."""
    t = smaller(smaller(on_plane, on_screen) * 0.5, full(_EXPONENT_MAX)) * 0.125
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
def _is_opaque(transmittance):
    most = load(transmittance, 0)
    for y in range(1, TILE):
        most = larger(most, load(transmittance, y * TILE))
    return not any_lane(most >= TRANSMITTANCE_MIN)


@kernel_part
def _add_feature_gradients(weights, grad_blended, first_row, end_row, features, stride, grad):
    for c in range(features):
        total = full(0.0)
        for y in range(first_row, end_row):
            total += load(weights, y * TILE) * load(grad_blended, y * stride + c * TILE)
        grad[c] += lane_sum(total)
