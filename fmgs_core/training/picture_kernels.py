"""Colour and mask loss of a rendering over a background, by hand in numba: what `picture_loss.picture_losses` says in torch.

Some forty torch operations over whole pictures cost more than the rasterizer. Here three passes over rows do: compositing
with L1 and cross entropy; SSIM with its partial derivatives; and, when the gradient is wanted, its way back to colours and
alpha. A picture's row is one vector of 3 w numbers, whose horizontal neighbours lie 3 apart, between margins of zeros.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from fmgs_core.raster.kernel import kernel, kernel_part, parallel_kernel
from fmgs_core.raster.simd import LANES, full, lane_sum, larger, load, ramp, store, where
from fmgs_core.training.losses import ALPHA_EDGE, L1_SHARE
from fmgs_core.training.ssim import C1, C2, RADIUS, TAPS

_T = tuple(float(tap) for tap in TAPS[RADIUS:])
_MARGIN = LANES  # at least 3 * RADIUS
_STRIP = 24  # rows that share one ring of blurred rows; 2 * RADIUS more are blurred for each strip
_RING = 2 * RADIUS + 1
_C1, _C2 = np.float32(C1), np.float32(C2)
_EDGE, _SQUEEZE = np.float32(ALPHA_EDGE), np.float32(1 - 2 * ALPHA_EDGE)
_LOG_EDGE, _LOG_REST = math.log(ALPHA_EDGE), math.log(1 - ALPHA_EDGE)
_L1_SHARE, _BYTE = np.float32(L1_SHARE), np.float32(1 / 255)


class ComparedPictures(torch.autograd.Function):
    """Call: apply(rgb, alpha, picture, mask, plate, known, trust, color) -> color loss (), mask loss ().

    Equal input gives equal bits, whatever the number of threads.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rgb: Float[Tensor, "h w 3"],
        alpha: Float[Tensor, "h w"],
        picture: UInt8[Tensor, "h w 3"],
        mask: Float[Tensor, "h w"],
        plate: UInt8[Tensor, "h w 3"] | None,
        known: Bool[Tensor, "h w"] | None,
        trust: Float[Tensor, "h w"] | None,
        color: Float[Tensor, "3"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        ctx.set_materialize_grads(False)
        if plate is None or known is None or trust is None:
            plate, known, trust = picture[:0], mask[:0].bool(), mask[:0]
        # Everything is read from the arrays' start, so that strided views are copied.
        inputs = tuple(t.detach().contiguous().numpy() for t in (rgb, alpha, picture, mask, plate, known, trust, color))
        height, width = alpha.shape
        padded = (height, 2 * _MARGIN + -(-3 * width // LANES) * LANES)
        composites, partials = np.zeros((2, *padded), np.float32), np.zeros((3, *padded), np.float32)
        reach, sums = _reach(inputs[1], inputs[3]), np.zeros((height, 3))
        _composite(*inputs, composites, sums, numba.get_num_threads())
        _compare(composites, reach, 3 * width, partials, sums, numba.get_num_threads())
        l1, dissimilarity, entropy = sums.sum(0)
        ctx.saved, ctx.reach, ctx.composites, ctx.partials = inputs, reach, composites, partials
        color_loss = (L1_SHARE * l1 + (1 - L1_SHARE) * dissimilarity) / (3 * height * width)
        return rgb.new_tensor(color_loss), rgb.new_tensor(entropy / (height * width))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        alpha = ctx.saved[1]
        to_color, to_mask = (0.0 if g is None else float(g) / alpha.size for g in grads)
        grad_rgb, grad_alpha = np.zeros((*alpha.shape, 3), np.float32), np.zeros_like(alpha)
        _backward(
            *ctx.saved, ctx.composites, ctx.partials, ctx.reach, np.float32(to_color / 3), np.float32(to_mask),
            numba.get_num_threads(), grad_rgb, grad_alpha,
        )  # fmt: skip
        return torch.from_numpy(grad_rgb), torch.from_numpy(grad_alpha), None, None, None, None, None, None


@kernel
def _reach(alpha, mask):
    """Per strip the columns x0, x1 [px] between which the rendering or the mask shows something, in it or in the rows that
    its windows reach; both 0 where nothing does. Beyond, no splat can change either picture: nothing is compared there."""
    height, width = alpha.shape
    low, high = np.full(height, width), np.zeros(height, np.int64)
    for y in range(height):
        for x in range(width):
            if alpha[y, x] > 0 or mask[y, x] > 0.5:
                low[y] = x
                break
        for x in range(width - 1, low[y] - 1, -1):
            if alpha[y, x] > 0 or mask[y, x] > 0.5:
                high[y] = x + 1
                break
    result = np.zeros((-(-height // _STRIP), 2), np.int64)
    for strip in range(len(result)):
        y0, y1 = max(strip * _STRIP - RADIUS, 0), min((strip + 1) * _STRIP + RADIUS, height)
        if high[y0:y1].max() > 0:
            result[strip, 0], result[strip, 1] = max(low[y0:y1].min() - RADIUS, 0), min(high[y0:y1].max() + RADIUS, width)
    return result


@kernel_part
def _spread_thrice(values, out):
    """A value per pixel to one per number of a padded row."""
    for x in range(len(values)):
        out[_MARGIN + 3 * x] = values[x]
        out[_MARGIN + 3 * x + 1] = values[x]
        out[_MARGIN + 3 * x + 2] = values[x]


@kernel_part
def _to_floats(values, out):
    for k in range(len(values)):
        out[_MARGIN + k] = values[k] * _BYTE


@kernel_part
def _copy(values, out):
    for k in range(len(values)):
        out[_MARGIN + k] = values[k]


@parallel_kernel
def _composite(rgb, alpha, picture, mask, plate, known, trust, color, composites, sums, workers):
    """Rendering and picture over one background, the sums of L1 and of the mask's cross entropy row by row."""
    height, width = alpha.shape
    stride = composites.shape[2]
    for worker in prange(workers):
        rows = np.zeros((8, stride), np.float32)
        rows[7] = 1
        for x in range(width):
            for c in range(3):
                rows[6, _MARGIN + 3 * x + c] = color[c]
        for y in range(worker, height, workers):
            _copy(rgb[y].ravel(), rows[0])
            _to_floats(picture[y].ravel(), rows[1])
            _spread_thrice(alpha[y], rows[2])
            _spread_thrice(mask[y], rows[3])
            if known.size:
                _to_floats(plate[y].ravel(), rows[4])
                _spread_thrice(known[y], rows[5])
                _spread_thrice(trust[y], rows[7])
            sums[y, 0] = _composite_row(rows, composites[0, y], composites[1, y])
            sums[y, 2] = _entropy_row(alpha[y], mask[y], trust[y] if trust.size else alpha[y, :0])


@kernel_part
def _composite_row(rows, rendered, observed):
    """Of rows that hold colours, picture, alpha, mask, plate, where the plate is known, the colour elsewhere, and where
    anything is compared; returns the sum of L1."""
    total = full(0.0)
    for at in range(_MARGIN, rows.shape[1] - _MARGIN, LANES):
        color, known = load(rows[6], at), load(rows[5], at)
        behind = color + (load(rows[4], at) - color) * known
        r = load(rows[0], at) + behind - behind * load(rows[2], at)
        o = behind + (load(rows[1], at) - behind) * larger(load(rows[3], at), known)
        o = where(load(rows[7], at) > full(0.0), o, r)
        store(rendered, at, r)
        store(observed, at, o)
        total += larger(r - o, o - r)
    return lane_sum(total)


@kernel_part
def _entropy_row(alpha, mask, trust):
    total = 0.0
    for x in range(len(alpha)):
        m, value = mask[x], 0.0
        if alpha[x] > 0:
            s = _EDGE + _SQUEEZE * alpha[x]
            if m > 0:
                value += m * math.log(s)
            if m < 1:
                value += (1 - m) * math.log(1 - s)
        else:
            value = m * _LOG_EDGE + (1 - m) * _LOG_REST
        total -= value * (trust[x] if trust.size else 1.0)
    return total


@kernel_part
def _blurred_along(row, at):
    """Eleven taps, three numbers apart, around flat index `at`."""
    total = load(row, at) * _T[0]
    for t in range(1, RADIUS + 1):
        total += (load(row, at - 3 * t) + load(row, at + 3 * t)) * _T[t]
    return total


@kernel_part
def _blurred_down(ring, y, stride, at):
    """Eleven taps, one row apart, around row y; the ring's row of picture row y is y % _RING."""
    total = load(ring, (y + _RING) % _RING * stride + at) * _T[0]
    for t in range(1, RADIUS + 1):
        above, below = (y - t + _RING) % _RING, (y + t) % _RING
        total += (load(ring, above * stride + at) + load(ring, below * stride + at)) * _T[t]
    return total


@kernel_part
def _blur_row(sources, y, height, first, end, rings):
    """Blurs row y of each source along into its ring; rows outside the picture are zero."""
    stride = rings.shape[2]
    for k in range(len(rings)):
        ring, place = rings[k], (y + _RING) % _RING * stride
        for at in range(first, end, LANES):
            store(ring, place + at, _blurred_along(sources[k], at) if 0 <= y < height else full(0.0))


@kernel_part
def _moments(composites, y, first, end, rows):
    """Row y of the pictures, of the sum of their squares and of their product."""
    a, b = composites[0, y], composites[1, y]
    for at in range(first - _MARGIN, end + _MARGIN, LANES):
        r, o = load(a, at), load(b, at)
        store(rows[0], at, r)
        store(rows[1], at, o)
        store(rows[2], at, r * r + o * o)
        store(rows[3], at, r * o)


@kernel_part
def _flat_range(x0, x1):
    """Columns of pixels as whole vectors of a padded row."""
    return _MARGIN + 3 * x0 // LANES * LANES, _MARGIN + -(-3 * x1 // LANES) * LANES


@parallel_kernel
def _compare(composites, reach, numbers, partials, sums, workers):
    """Row sums of 1 - SSIM within reach (Wang et al., eq. 13), and its partial derivatives by the blurred rendering a,
    by the blurred a a (the same as by b b) and by the blurred a b."""
    height, stride = composites.shape[1:]
    for worker in prange(workers):
        rings, rows = np.zeros((4, _RING, stride), np.float32), np.zeros((4, stride), np.float32)
        for strip in range(worker, len(reach), workers):
            if reach[strip, 1] == 0:
                continue
            first, end = _flat_range(reach[strip, 0], reach[strip, 1])
            y0, y1 = strip * _STRIP, min((strip + 1) * _STRIP, height)
            for y in range(y0 - RADIUS, y1 + RADIUS):
                if 0 <= y < height:
                    _moments(composites, y, first, end, rows)
                _blur_row(rows, y, height, first, end, rings)
                if y - RADIUS >= y0:
                    sums[y - RADIUS, 1] = _similarity_row(rings, y - RADIUS, first, end, numbers, partials)


@kernel_part
def _similarity_row(rings, y, first, end, numbers, partials):
    """Sum of 1 - SSIM of row y, whose partial derivatives are stored with zeros outside the picture."""
    stride = rings.shape[2]
    by_mean, by_square, by_product = partials[0, y], partials[1, y], partials[2, y]
    total = full(0.0)
    for at in range(first, end, LANES):
        mean_a, mean_b = _blurred_down(rings[0], y, stride, at), _blurred_down(rings[1], y, stride, at)
        squares, product = _blurred_down(rings[2], y, stride, at), _blurred_down(rings[3], y, stride, at)
        mm, means = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
        luminance, contrast = means + _C1, squares - means + _C2
        n_luminance, n_contrast = mm * 2.0 + _C1, (product - mm) * 2.0 + _C2
        inverse = 1.0 / (luminance * contrast)
        similarity = n_luminance * n_contrast * inverse
        valid = ramp() + np.float32(at - _MARGIN) < np.float32(numbers)
        # d by mean a, with the moments of second order held: through mm, means and the variances.
        slope = (n_contrast - n_luminance) * mean_b - similarity * (contrast - luminance) * mean_a
        store(by_mean, at, where(valid, slope * inverse * 2.0, full(0.0)))
        store(by_square, at, where(valid, -similarity * luminance * inverse, full(0.0)))
        store(by_product, at, where(valid, n_luminance * inverse * 2.0, full(0.0)))
        total += where(valid, 1.0 - similarity, full(0.0))
    return lane_sum(total)


@parallel_kernel
def _backward(
    rgb, alpha, picture, mask, plate, known, trust, color, composites, partials, reach, to_color, to_mask, workers,
    grad_rgb, grad_alpha,
):  # fmt: skip
    """The blur is its own transpose, because outside is zero."""
    height, stride = composites.shape[1:]
    for worker in prange(workers):
        rings, out = np.zeros((3, _RING, stride), np.float32), np.zeros(stride, np.float32)
        for strip in range(worker, len(reach), workers):
            if reach[strip, 1] == 0:
                continue
            x0, x1 = reach[strip]
            first, end = _flat_range(x0, x1)
            y0, y1 = strip * _STRIP, min((strip + 1) * _STRIP, height)
            for y in range(y0 - RADIUS, y1 + RADIUS):
                _blur_row(partials[:, min(max(y, 0), height - 1)], y, height, first, end, rings)
                if y - RADIUS >= y0:
                    row = y - RADIUS
                    _gradient_row(rings, row, first, end, composites, to_color, out)
                    _spread_row(alpha, mask, plate, known, trust, color, row, x0, x1, to_mask, out, grad_rgb, grad_alpha)


@kernel_part
def _gradient_row(rings, y, first, end, composites, to_color, out):
    """Gradient of the composited rendering: of L1, and of SSIM through a, a a and a b."""
    stride = rings.shape[2]
    a, b = composites[0, y], composites[1, y]
    for at in range(first, end, LANES):
        r, o = load(a, at), load(b, at)
        from_ssim = _blurred_down(rings[0], y, stride, at)
        from_ssim += _blurred_down(rings[1], y, stride, at) * r * 2.0 + _blurred_down(rings[2], y, stride, at) * o
        sign = where(r > o, full(_L1_SHARE), where(o > r, full(-_L1_SHARE), full(0.0)))
        store(out, at, (sign - from_ssim * (np.float32(1.0) - _L1_SHARE)) * to_color)


@kernel_part
def _spread_row(alpha, mask, plate, known, trust, color, y, x0, x1, to_mask, out, grad_rgb, grad_alpha):
    """From the composited rendering to colours and alpha; the mask's cross entropy joins here."""
    _entropy_slope(alpha[y, x0:x1], mask[y, x0:x1], to_mask, grad_alpha[y, x0:x1])
    if trust.size:
        for x in range(x0, x1):
            grad_alpha[y, x] *= trust[y, x]
    for x in range(x0, x1):
        at = _MARGIN + 3 * x
        grad_alpha[y, x] -= color[0] * out[at] + color[1] * out[at + 1] + color[2] * out[at + 2]
    if known.size:
        for x in range(x0, x1):
            if known[y, x]:
                for c in range(3):
                    grad_alpha[y, x] -= (plate[y, x, c] * _BYTE - color[c]) * out[_MARGIN + 3 * x + c]
    flat = grad_rgb[y].ravel()
    for k in range(3 * x0, 3 * x1):
        flat[k] = out[_MARGIN + k]


@kernel_part
def _entropy_slope(alpha, mask, factor, out):
    for x in range(len(alpha)):
        s = _EDGE + _SQUEEZE * alpha[x]
        out[x] = factor * _SQUEEZE * (s - mask[x]) / (s * (np.float32(1.0) - s))
