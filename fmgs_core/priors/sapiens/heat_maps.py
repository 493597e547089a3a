"""Keypoints out of heat maps, finer than their pixels."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

LAYOUTS = {308: "sapiens308", 133: "coco_wholebody133", 17: "coco17"}
"""Names of landmark lists by the number of heat maps."""

# Sapiens' heat maps are Gaussians of sigma 6; DARK blurs them with 11 taps first, whose sigma is OpenCV's for that size.
_TAPS = 11
_SIGMA = 0.3 * ((_TAPS - 1) / 2 - 1) + 0.8
# Below this share of a full peak a map is noise, and its logarithm has no curvature worth following.
_FLOOR = 1e-3


def layout_of(channels: int) -> str:
    """
    Raises:
        ValueError: a number of keypoints that names no known list.
    """
    if channels not in LAYOUTS:
        known = ", ".join(f"{count} ({name})" for count, name in LAYOUTS.items())
        raise ValueError(f"pose: expected heat maps of {known}, got {channels}")
    return LAYOUTS[channels]


def keypoints_in_input(heat_maps: Float[Tensor, "n h w"], input_hw: tuple[int, int]) -> Float[Tensor, "n 3"]:
    """x, y in the input [px, pixel centres at +0.5] and the peak's height, clipped to [0, 1].

    The maps were drawn with the first and last pixel centres of map and input on each other (UDP, Huang et al. 2020), not
    edge on edge as in other maps: with 4 px per map pixel the difference reaches 1.5 px at the borders.
    """
    points, heights = peaks(heat_maps)
    (h, w), (height, width) = heat_maps.shape[1:], input_hw
    steps = points.new_tensor(((width - 1) / max(w - 1, 1), (height - 1) / max(h - 1, 1)))
    return torch.cat([points * steps + 0.5, heights.clamp(0, 1)[:, None]], 1)


def peaks(heat_maps: Float[Tensor, "n h w"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """x, y of each map's highest point in pixel indices (centres at whole numbers), and the height there.

    DARK (Zhang et al. 2020): one Newton step on the logarithm of the blurred map, which is exact for a Gaussian. Where the
    map does not curve downwards, and beyond one pixel, the step is not taken.
    """
    heights, index = heat_maps.flatten(1).max(1)
    rows, columns = index // heat_maps.shape[2], index % heat_maps.shape[2]
    step = _newton_step(_blurred_surroundings(heat_maps, rows, columns).clamp_min(_FLOOR).log())
    return torch.stack([columns, rows], 1) + step.clamp(-1, 1), heights


def _blurred_surroundings(heat_maps: Float[Tensor, "n h w"], rows: Tensor, columns: Tensor) -> Float[Tensor, "n 3 3"]:
    """The blurred maps at the 3 x 3 pixels about a place; only there, since all of them are a hundred times as many."""
    reach = _TAPS // 2 + 1
    padded = pad(heat_maps, (reach, reach, reach, reach))
    window = torch.arange(2 * reach + 1, device=heat_maps.device)
    each = torch.arange(len(heat_maps), device=heat_maps.device)[:, None, None]
    patches = padded[each, (rows[:, None] + window)[:, :, None], (columns[:, None] + window)[:, None, :]]
    taps = torch.arange(_TAPS, device=heat_maps.device, dtype=heat_maps.dtype) - _TAPS // 2
    kernel = torch.softmax(-0.5 * (taps / _SIGMA) ** 2, 0)
    return conv2d(patches[:, None], torch.outer(kernel, kernel)[None, None])[:, 0]


def _newton_step(v: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 2"]:
    """-H^-1 g at the centre by central differences, x first; zeros unless H is negative definite."""
    gx, gy = (v[:, 1, 2] - v[:, 1, 0]) / 2, (v[:, 2, 1] - v[:, 0, 1]) / 2
    xx, yy = v[:, 1, 2] - 2 * v[:, 1, 1] + v[:, 1, 0], v[:, 2, 1] - 2 * v[:, 1, 1] + v[:, 0, 1]
    xy = (v[:, 2, 2] - v[:, 2, 0] - v[:, 0, 2] + v[:, 0, 0]) / 4
    determinant = xx * yy - xy * xy
    peaked = (xx < 0) & (determinant > 1e-8)
    step = torch.stack([xy * gy - yy * gx, xy * gx - xx * gy], 1) / torch.where(peaked, determinant, 1)[:, None]
    return torch.where(peaked[:, None], step, 0)
