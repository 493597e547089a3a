"""Raw outputs of the heads, already at the frame's pixels, to normals, depth, labels and masks. Torch, on any device."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import max_pool2d

Signs = tuple[int, int, int]
"""Factors of x, y, z, each 1 or -1."""


def normals_from(
    raw: Float[Tensor, "3 h w"], signs: Signs, min_facing: float, person: Bool[Tensor, "h w"] | None
) -> Float[Tensor, "h w 3"]:
    """Unit normals in camera axes; zeros outside of `person` and where the surface is seen from the side.

    `signs` turn the network's axes into the camera's. Facing is |z|, so that a wrong sign of z shows in the values and does
    not empty the map.
    """
    normal = raw / (raw.norm(dim=0, keepdim=True) + 1e-5)
    trusted = normal[2].abs() > min_facing
    trusted = trusted if person is None else trusted & person
    factors = torch.tensor(signs, device=raw.device, dtype=raw.dtype)
    return torch.where(trusted[..., None], normal.permute(1, 2, 0) * factors, 0)


def depth_from(raw: Float[Tensor, "1 h w"], person: Bool[Tensor, "h w"] | None) -> Float[Tensor, "h w"]:
    """Relative depth, larger is farther; NaN outside of `person`, where the network was never taught any."""
    return raw[0] if person is None else torch.where(person, raw[0], torch.nan)


def labels_from(scores: Float[Tensor, "c h w"], table: Sequence[int]) -> UInt8[Tensor, "h w"]:
    """Class of the highest score, by `table` from channel to class id."""
    return torch.tensor(tuple(table), device=scores.device, dtype=torch.uint8)[scores.argmax(0)]


def person_from(scores: Float[Tensor, "c h w"]) -> Float[Tensor, "h w"]:
    """Probability of any class but the first, which is the background."""
    return 1 - scores.softmax(0)[0]


def eroded(mask: Bool[Tensor, "h w"], pixels: int) -> Bool[Tensor, "h w"]:
    """Without what is closer than that many pixels (along rows and columns) to the outside; the picture's edge is none."""
    outside = (~mask).float()[None, None]
    return max_pool2d(outside, 2 * pixels + 1, stride=1, padding=pixels)[0, 0] == 0
