"""Structural similarity (Wang et al., 2004) with its gradient, for the colour loss on a CPU.

Two numba passes over rows instead of ten torch convolutions, which take longer than the rasterizer itself. A row of an
(h, w, 3) picture is one vector of 3 w numbers; horizontal taps lie 3 apart, so every inner loop runs along memory.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from fmgs_core.concurrency import PARALLEL_KERNELS

# Wang et al., 2004: an 11-tap Gaussian with sigma 1.5, K1 = 0.01, K2 = 0.03, for values in [0, 1].
_RADIUS, _SIGMA = 5, 1.5
C1, C2 = np.float32(0.01**2), np.float32(0.03**2)
_UNSCALED = [math.exp(-0.5 * (t / _SIGMA) ** 2) for t in range(-_RADIUS, _RADIUS + 1)]
TAPS = np.array([tap / sum(_UNSCALED) for tap in _UNSCALED], dtype=np.float32)
_T0, _T1, _T2, _T3, _T4, _T5 = (np.float32(tap) for tap in TAPS[_RADIUS:])
_CHANNELS = 3
_MARGIN = _RADIUS * _CHANNELS


def ssim(a: Float[Tensor, "h w 3"], b: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """SSIM of every pixel and channel, in [-1, 1]; both pictures in [0, 1], float32, on the CPU.

    The pictures are continued by zeros and the map has their size, as in fused-ssim; away from a border of 5 pixels it equals
    pytorch-msssim. The gradient goes to `a` only: `b` is the observed picture. Equal input gives equal bits.

    Raises:
        ValueError: pictures of different or wrong shape, another dtype or device, or a `b` that wants a gradient.
    """
    _check_picture("a", a)
    _check_picture("b", b)
    if a.shape != b.shape:
        raise ValueError(f"ssim: expected two pictures of one size, got {tuple(a.shape)} and {tuple(b.shape)}")
    if b.requires_grad:
        raise ValueError("ssim: expected an observed picture b without gradient, got one that requires it")
    return _Ssim.apply(a, b)


class _Ssim(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        rows_a, rows_b = _rows(a), _rows(b)
        similarity = np.empty_like(rows_a)
        needs_gradient = ctx.needs_input_grad[0]
        partials = np.empty((3, *rows_a.shape) if needs_gradient else (3, 0, 0), dtype=np.float32)
        with PARALLEL_KERNELS:
            _forward(rows_a, rows_b, similarity, partials)
        if needs_gradient:
            ctx.saved = rows_a, rows_b, partials
        return torch.from_numpy(similarity).view(a.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        rows_a, rows_b, partials = ctx.saved
        gradient = np.empty_like(rows_a)
        with PARALLEL_KERNELS:
            _backward(_rows(grads[0]), rows_a, rows_b, partials, gradient)
        return torch.from_numpy(gradient).view(grads[0].shape), None


def _check_picture(name: str, picture: Tensor) -> None:
    if picture.ndim != 3 or picture.shape[2] != _CHANNELS:
        raise ValueError(f"ssim: expected {name} of shape (h, w, 3), got {tuple(picture.shape)}")
    if picture.dtype != torch.float32 or picture.device.type != "cpu":
        raise ValueError(f"ssim: expected {name} as float32 on the CPU, got {picture.dtype} on {picture.device}")


def _rows(picture: Tensor) -> np.ndarray:
    return picture.detach().contiguous().view(picture.shape[0], -1).numpy()


# Each loop below touches few enough arrays for the compiler's overlap checks, beyond which it would not vectorise.
# Contraction (fused multiply-add) changes the last bit but always in the same way.
_vectorised = njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")


@_vectorised
def _add_moments(row, tap, mean, square):
    for x in range(len(row)):
        mean[x] += tap * row[x]
        square[x] += tap * row[x] * row[x]


@_vectorised
def _add_product(row_a, row_b, tap, out):
    for x in range(len(out)):
        out[x] += tap * row_a[x] * row_b[x]


@_vectorised
def _blur_along(padded, out):
    """Horizontal pass; `padded` has zeros for _MARGIN numbers on both sides of the row."""
    for x in range(len(out)):
        value = _T0 * padded[x + 15]
        value += _T1 * (padded[x + 12] + padded[x + 18])
        value += _T2 * (padded[x + 9] + padded[x + 21])
        value += _T3 * (padded[x + 6] + padded[x + 24])
        value += _T4 * (padded[x + 3] + padded[x + 27])
        out[x] = value + _T5 * (padded[x] + padded[x + 30])


@_vectorised
def _similarity(blurred, out):
    """Equation 13 of Wang et al. from the blurred a, b, a a, b b, a b."""
    mean_a, mean_b, square_a, square_b, product = blurred[0], blurred[1], blurred[2], blurred[3], blurred[4]
    for x in range(len(out)):
        mm, aa, bb = mean_a[x] * mean_b[x], mean_a[x] * mean_a[x], mean_b[x] * mean_b[x]
        numerator = (2 * mm + C1) * (2 * (product[x] - mm) + C2)
        out[x] = numerator / ((aa + bb + C1) * (square_a[x] - aa + square_b[x] - bb + C2))


@_vectorised
def _partial_of_mean(blurred, similarity, out):
    """d ssim / d blurred a, the other four held."""
    mean_a, mean_b, square_a, square_b, product = blurred[0], blurred[1], blurred[2], blurred[3], blurred[4]
    for x in range(len(out)):
        mm, aa, bb = mean_a[x] * mean_b[x], mean_a[x] * mean_a[x], mean_b[x] * mean_b[x]
        luminance, contrast = aa + bb + C1, square_a[x] - aa + square_b[x] - bb + C2
        numerator = 2 * mean_b[x] * ((2 * (product[x] - mm) + C2) - (2 * mm + C1))
        out[x] = numerator / (luminance * contrast) - 2 * mean_a[x] * similarity[x] * (1 / luminance - 1 / contrast)


@_vectorised
def _partial_of_square(blurred, similarity, out):
    """d ssim / d blurred a a."""
    mean_a, mean_b, square_a, square_b = blurred[0], blurred[1], blurred[2], blurred[3]
    for x in range(len(out)):
        variances = square_a[x] - mean_a[x] * mean_a[x] + square_b[x] - mean_b[x] * mean_b[x]
        out[x] = -similarity[x] / (variances + C2)


@_vectorised
def _partial_of_product(blurred, out):
    """d ssim / d blurred a b."""
    mean_a, mean_b, square_a, square_b = blurred[0], blurred[1], blurred[2], blurred[3]
    for x in range(len(out)):
        aa, bb = mean_a[x] * mean_a[x], mean_b[x] * mean_b[x]
        luminance, contrast = aa + bb + C1, square_a[x] - aa + square_b[x] - bb + C2
        out[x] = 2 * (2 * mean_a[x] * mean_b[x] + C1) / (luminance * contrast)


@_vectorised
def _gradient(blurred, row_a, row_b, out):
    """Chain rule through a, a a and a b; the blur is its own transpose because outside is zero."""
    from_mean, from_square, from_product = blurred[0], blurred[1], blurred[2]
    for x in range(len(out)):
        out[x] = from_mean[x] + 2 * row_a[x] * from_square[x] + row_b[x] * from_product[x]


@njit(cache=True, nogil=True, parallel=True)
def _forward(a, b, similarity, partials):
    """Every row on its own: vertical taps into padded buffers, horizontal taps, then the formula."""
    height, width = a.shape
    for row in prange(height):
        padded = np.zeros((5, width + 2 * _MARGIN), dtype=np.float32)
        inner = padded[:, _MARGIN : _MARGIN + width]
        for source in range(max(row - _RADIUS, 0), min(row + _RADIUS + 1, height)):
            tap = TAPS[source - row + _RADIUS]
            _add_moments(a[source], tap, inner[0], inner[2])
            _add_moments(b[source], tap, inner[1], inner[3])
            _add_product(a[source], b[source], tap, inner[4])
        blurred = np.empty((5, width), dtype=np.float32)
        for k in range(5):
            _blur_along(padded[k], blurred[k])
        _similarity(blurred, similarity[row])
        if partials.size > 0:
            _partial_of_mean(blurred, similarity[row], partials[0, row])
            _partial_of_square(blurred, similarity[row], partials[1, row])
            _partial_of_product(blurred, partials[2, row])


@njit(cache=True, nogil=True, parallel=True)
def _backward(grad, a, b, partials, gradient):
    height, width = a.shape
    for row in prange(height):
        padded = np.zeros((3, width + 2 * _MARGIN), dtype=np.float32)
        for source in range(max(row - _RADIUS, 0), min(row + _RADIUS + 1, height)):
            tap = TAPS[source - row + _RADIUS]
            for k in range(3):
                _add_product(grad[source], partials[k, source], tap, padded[k, _MARGIN : _MARGIN + width])
        blurred = np.empty((3, width), dtype=np.float32)
        for k in range(3):
            _blur_along(padded[k], blurred[k])
        _gradient(blurred, a[row], b[row], gradient[row])
