"""Front-to-back compositing of the splats of one tile, forward and backward, sixteen pixels at a time.

Every per-tile buffer is flat; row y of quantity c of a tile with C quantities starts at (y * C + c) * 16. Shared formulas
are in projection.py, thresholds in constants.py.
"""

from numba import njit

from fmgs_core.raster.constants import ALPHA_MAX, ALPHA_MIN, LOW_PASS, RATIO_MIN, TRANSMITTANCE_MIN
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

# Sums over pixels that the backward pass leaves per splat, from which `unfold_sums` makes the gradient of its row:
# of (Q d) by 1 and by d, of w by 1 and by d, of the low-pass by d, of the opacity, of the centre's depth.
U_, V_, W_, UX, UY, VX, VY, WX, WY, LX, LY, O_, Z_ = range(13)
SUMS = 16

_NO_HIT = 1e30
_EXPONENT_MAX = 8.0  # exp(-8) is under ALPHA_MIN


@njit(cache=True)
def _exp_of_minus(s):
    """exp(-s) for s in [0, 8]: Taylor of degree 6 for s / 8, then three squarings; relative error under 4e-6."""
    t = s * -0.125
    p = t * (1 / 720) + 1 / 120
    p = t * p + 1 / 24
    p = t * p + 1 / 6
    p = t * p + 0.5
    p = t * p + 1.0
    p = t * p + 1.0
    p = p * p
    p = p * p
    return p * p


@njit(cache=True)
def _rows_of(bounds, i, y0):
    """Rows of the tile from y0 on that splat i can reach."""
    return max(bounds[i, 2] - y0, 0), min(bounds[i, 3] - y0, TILE)


@njit(cache=True)
def forward_tile(rows, bounds, features, members, begin, end, x0, y0, with_depth, transmittance, last, blended):
    """Composites members[begin:end]; returns the end of the range that was needed.

    Writes per pixel the remaining transmittance, the index in `members` of the last contributor (-1: none), and the blended
    features, followed by the blended depth if asked for.
    """
    C = features.shape[1]
    stride = (C + 1) * TILE if with_depth else C * TILE
    for y in range(TILE):
        store(transmittance, y * TILE, full(1.0))
        store(last, y * TILE, full(-1.0))
    for c in range(stride):
        store(blended, c * TILE, full(0.0))
    x = ramp() + (x0 + 0.5)
    for k in range(begin, end):
        i = members[k]
        first_row, end_row = _rows_of(bounds, i, y0)
        opacity, ratio_max = rows[i, OPACITY], rows[i, RATIO_MAX]
        dx = x - rows[i, CX]
        dx2, ux, vx, wx = dx * dx, dx * rows[i, Q00], dx * rows[i, Q10], dx * rows[i, GX] + 1.0
        for y in range(first_row, end_row):
            dy = y0 + y + 0.5 - rows[i, CY]
            w = wx + rows[i, GY] * dy
            r = 1.0 / larger(w, full(RATIO_MIN))
            u, v = (ux + rows[i, Q01] * dy) * r, (vx + rows[i, Q11] * dy) * r
            on_plane = where((w >= RATIO_MIN) & (w <= ratio_max), u * u + v * v, full(_NO_HIT))
            on_screen = (dx2 + dy * dy) * LOW_PASS
            exponent = smaller(smaller(on_plane, on_screen) * 0.5, full(_EXPONENT_MAX))
            alpha = smaller(_exp_of_minus(exponent) * opacity, full(ALPHA_MAX))
            before = load(transmittance, y * TILE)
            live = (alpha >= ALPHA_MIN) & (before >= TRANSMITTANCE_MIN)
            if not any_lane(live):
                continue
            alpha = where(live, alpha, full(0.0))
            weight = alpha * before
            store(transmittance, y * TILE, before * (1.0 - alpha))
            store(last, y * TILE, where(live, full(k - begin), load(last, y * TILE)))
            at = y * stride
            for c in range(C):
                store(blended, at + c * TILE, load(blended, at + c * TILE) + weight * features[i, c])
            if with_depth:
                z = smaller(larger(r, full(rows[i, DEPTH_LOW])), full(rows[i, DEPTH_HIGH])) * rows[i, Z]
                store(blended, at + C * TILE, load(blended, at + C * TILE) + weight * z)
        if (k - begin) % 16 == 15 and _is_opaque(transmittance):
            return k + 1
    return end


@njit(cache=True)
def _is_opaque(transmittance):
    most = load(transmittance, 0)
    for y in range(1, TILE):
        most = larger(most, load(transmittance, y * TILE))
    return not any_lane(most >= TRANSMITTANCE_MIN)


@njit(cache=True)
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
    x = ramp() + (x0 + 0.5)
    zero = full(0.0)
    for k in range(end - 1, begin - 1, -1):
        i = members[k]
        first_row, end_row = _rows_of(bounds, i, y0)
        opacity, ratio_max, z0 = rows[i, OPACITY], rows[i, RATIO_MAX], rows[i, Z]
        dx = x - rows[i, CX]
        dx2, ux, vx, wx = dx * dx, dx * rows[i, Q00], dx * rows[i, Q10], dx * rows[i, GX] + 1.0
        su, sv, sw, sux, suy, svx, svy = zero, zero, zero, zero, zero, zero, zero
        swx, swy, slx, sly, so, sz = zero, zero, zero, zero, zero, zero
        touched = False
        for y in range(first_row, end_row):
            dy = y0 + y + 0.5 - rows[i, CY]
            w = wx + rows[i, GY] * dy
            r = 1.0 / larger(w, full(RATIO_MIN))
            u, v = (ux + rows[i, Q01] * dy) * r, (vx + rows[i, Q11] * dy) * r
            on_plane = where((w >= RATIO_MIN) & (w <= ratio_max), u * u + v * v, full(_NO_HIT))
            on_screen = (dx2 + dy * dy) * LOW_PASS
            exponent = smaller(smaller(on_plane, on_screen) * 0.5, full(_EXPONENT_MAX))
            weight = _exp_of_minus(exponent)
            unclamped = weight * opacity
            alpha = smaller(unclamped, full(ALPHA_MAX))
            live = (alpha >= ALPHA_MIN) & (load(last, y * TILE) >= k - begin)
            if not any_lane(live):
                store(weights, y * TILE, zero)
                continue
            touched = True
            alpha = where(live, alpha, zero)
            inverse = 1.0 / (1.0 - alpha)
            before = load(transmittance, y * TILE) * inverse
            store(transmittance, y * TILE, before)
            contribution = alpha * before
            store(weights, y * TILE, contribution)

            at = y * stride
            along = zero  # grad_blended . feature
            for c in range(C):
                along = along + load(grad_blended, at + c * TILE) * features[i, c]
            gw = zero
            if with_depth:
                grad_z = load(grad_blended, at + C * TILE)
                clamped = smaller(larger(r, full(rows[i, DEPTH_LOW])), full(rows[i, DEPTH_HIGH]))
                along = along + grad_z * clamped * z0
                grad_z = grad_z * contribution * clamped
                sz = sz + grad_z
                inside = (r >= rows[i, DEPTH_LOW]) & (r <= rows[i, DEPTH_HIGH])
                gw = where(inside, grad_z * r * -z0, zero)
            rest = load(behind, y * TILE)
            store(behind, y * TILE, rest + contribution * along)
            grad_alpha = before * along - rest * inverse
            grad_alpha = where(live & (unclamped < ALPHA_MAX), grad_alpha, zero)
            so = so + grad_alpha * weight
            grad_exponent = grad_alpha * -unclamped
            hit = on_plane < on_screen
            gu = where(hit, grad_exponent, zero) * u
            gv = where(hit, grad_exponent, zero) * v
            gw = gw - (gu * u + gv * v) * r
            gu, gv = gu * r, gv * r
            gl = where(hit, zero, grad_exponent)
            su, sv, sw = su + gu, sv + gv, sw + gw
            sux, suy = sux + gu * dx, suy + gu * dy
            svx, svy = svx + gv * dx, svy + gv * dy
            swx, swy = swx + gw * dx, swy + gw * dy
            slx, sly = slx + gl * dx, sly + gl * dy
        if not touched:
            continue
        sums = row_sums[i]
        sums[U_] += lane_sum(su)
        sums[V_] += lane_sum(sv)
        sums[W_] += lane_sum(sw)
        sums[UX] += lane_sum(sux)
        sums[UY] += lane_sum(suy)
        sums[VX] += lane_sum(svx)
        sums[VY] += lane_sum(svy)
        sums[WX] += lane_sum(swx)
        sums[WY] += lane_sum(swy)
        sums[LX] += lane_sum(slx)
        sums[LY] += lane_sum(sly)
        sums[O_] += lane_sum(so)
        sums[Z_] += lane_sum(sz)
        for c in range(C):
            total = zero
            for y in range(first_row, end_row):
                total = total + load(weights, y * TILE) * load(grad_blended, y * stride + c * TILE)
            grad_features[i, c] += lane_sum(total)


@njit(cache=True)
def backward_tile_features(
    rows, bounds, features, members, begin, end, x0, y0, transmittance, last, grad_blended, weights, grad_features
):
    """The part of `backward_tile` that concerns the features alone, front to back."""
    C = features.shape[1]
    x = ramp() + (x0 + 0.5)
    zero = full(0.0)
    for y in range(TILE):
        store(transmittance, y * TILE, full(1.0))
    for k in range(begin, end):
        i = members[k]
        first_row, end_row = _rows_of(bounds, i, y0)
        opacity, ratio_max = rows[i, OPACITY], rows[i, RATIO_MAX]
        dx = x - rows[i, CX]
        dx2, ux, vx, wx = dx * dx, dx * rows[i, Q00], dx * rows[i, Q10], dx * rows[i, GX] + 1.0
        touched = False
        for y in range(first_row, end_row):
            dy = y0 + y + 0.5 - rows[i, CY]
            w = wx + rows[i, GY] * dy
            r = 1.0 / larger(w, full(RATIO_MIN))
            u, v = (ux + rows[i, Q01] * dy) * r, (vx + rows[i, Q11] * dy) * r
            on_plane = where((w >= RATIO_MIN) & (w <= ratio_max), u * u + v * v, full(_NO_HIT))
            on_screen = (dx2 + dy * dy) * LOW_PASS
            exponent = smaller(smaller(on_plane, on_screen) * 0.5, full(_EXPONENT_MAX))
            alpha = smaller(_exp_of_minus(exponent) * opacity, full(ALPHA_MAX))
            live = (alpha >= ALPHA_MIN) & (load(last, y * TILE) >= k - begin)
            alpha = where(live, alpha, zero)
            before = load(transmittance, y * TILE)
            store(transmittance, y * TILE, before * (1.0 - alpha))
            store(weights, y * TILE, alpha * before)
            touched = touched or any_lane(live)
        if not touched:
            continue
        for c in range(C):
            total = zero
            for y in range(first_row, end_row):
                total = total + load(weights, y * TILE) * load(grad_blended, (y * C + c) * TILE)
            grad_features[i, c] += lane_sum(total)


@njit(cache=True)
def unfold_sums(rows, sums, i, grad):
    """Gradient of splat i's screen-space row from its pixel sums: d = p - c turns sums by 1 into the centre's gradient."""
    q00, q01, q10, q11, gx, gy = rows[i, Q00], rows[i, Q01], rows[i, Q10], rows[i, Q11], rows[i, GX], rows[i, GY]
    grad[CX] = -(q00 * sums[U_] + q10 * sums[V_] + gx * sums[W_] + LOW_PASS * sums[LX])
    grad[CY] = -(q01 * sums[U_] + q11 * sums[V_] + gy * sums[W_] + LOW_PASS * sums[LY])
    grad[Q00], grad[Q01], grad[Q10], grad[Q11] = sums[UX], sums[UY], sums[VX], sums[VY]
    grad[GX], grad[GY], grad[Z], grad[OPACITY] = sums[WX], sums[WY], sums[Z_], sums[O_]
