"""Structural similarity (Wang et al., 2004), on any device. On a CPU the colour loss takes it from picture_kernels.py, as
two torch convolutions of fifteen planes cost several times what the rasterizer does."""

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

# An 11-tap Gaussian with sigma 1.5, K1 = 0.01, K2 = 0.03, for values in [0, 1].
RADIUS, _SIGMA = 5, 1.5
C1, C2 = 0.01**2, 0.03**2
_UNSCALED = [math.exp(-0.5 * (t / _SIGMA) ** 2) for t in range(-RADIUS, RADIUS + 1)]
TAPS = tuple(tap / sum(_UNSCALED) for tap in _UNSCALED)


def ssim(a: Float[Tensor, "h w 3"], b: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """SSIM of every pixel and channel, in [-1, 1]; both pictures in [0, 1].

    The pictures are continued by zeros and the map has their size, as in fused-ssim; away from a border of 5 pixels it
    equals pytorch-msssim.

    Raises:
        ValueError: pictures of different or wrong shape.
    """
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError(f"ssim: expected two pictures of one shape (h, w, 3), got {tuple(a.shape)} and {tuple(b.shape)}")
    taps = _taps(a.dtype, a.device)
    planes = torch.cat([a, b, a * a + b * b, a * b], -1).permute(2, 0, 1)[:, None]
    blurred = conv2d(conv2d(planes, taps.view(1, 1, -1, 1), padding=(RADIUS, 0)), taps.view(1, 1, 1, -1), padding=(0, RADIUS))
    mean_a, mean_b, squares, product = blurred[:, 0].permute(1, 2, 0).split(3, -1)
    mm, means = mean_a * mean_b, mean_a**2 + mean_b**2
    return (2 * mm + C1) * (2 * (product - mm) + C2) / ((means + C1) * (squares - means + C2))


@functools.cache
def _taps(dtype: torch.dtype, device: torch.device) -> Float[Tensor, " taps"]:
    return torch.tensor(TAPS, dtype=dtype, device=device)
