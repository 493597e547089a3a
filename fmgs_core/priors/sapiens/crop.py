"""The part of the picture that a network looks at, and the exact way back.

Coordinates are continuous: u = 0 is the left edge of a picture or of the network's input, pixel centres lie at +0.5. Maps of
any size cover the same rectangle as the input. Everything runs where its tensors are, so on CUDA nothing is copied home.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from fmgs_core.priors import Box

# ImageNet's statistics of RGB in 0..255, with which Sapiens and Sapiens2 were trained.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Crop:
    """A rectangle of the picture, of the input's aspect; it may reach outside of the picture."""

    left: float
    top: float
    """Corner in the picture [px]."""
    scale: float
    """Picture pixels per input pixel."""
    input_hw: tuple[int, int]

    def region(self, width: int, height: int) -> Box:
        """Pixels of a picture of that size whose centres lie inside."""
        right, bottom = self.left + self.scale * self.input_hw[1], self.top + self.scale * self.input_hw[0]
        x0, x1 = (min(max(_first_center_from(edge), 0), width) for edge in (self.left, right))
        y0, y1 = (min(max(_first_center_from(edge), 0), height) for edge in (self.top, bottom))
        return x0, y0, x1, y1


def person_crop(person: Box, input_hw: tuple[int, int], padding: float = 1.25) -> Crop:
    """The box enlarged by `padding` about its centre, and then to the input's aspect.

    Raises:
        ValueError: an empty box.
    """
    x0, y0, x1, y1 = person
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"person: expected a box x0, y0, x1, y1 with x0 < x1 and y0 < y1, got {person}")
    height, width = input_hw
    scale = padding * max((x1 - x0) / width, (y1 - y0) / height)
    return Crop((x0 + x1 - scale * width) / 2, (y0 + y1 - scale * height) / 2, scale, input_hw)


def cropped_pixels(rgb: UInt8[Tensor, "h w 3"], crop: Crop) -> Float[Tensor, "1 3 h2 w2"]:
    """The network's input: bilinear, black outside of the picture, normalised."""
    height, width = crop.input_hw
    x = crop.left + crop.scale * _centers(0, width, rgb.device)
    y = crop.top + crop.scale * _centers(0, height, rgb.device)
    picture = rgb.permute(2, 0, 1)[None].float()
    sampled = grid_sample(picture, _grid(x / rgb.shape[1], y / rgb.shape[0]), padding_mode="zeros", align_corners=False)
    mean, std = (torch.tensor(v, device=rgb.device)[:, None, None] for v in (MEAN, STD))
    return (sampled - mean) / std


def at_frame_pixels(maps: Float[Tensor, "1 c h w"], crop: Crop, region: Box) -> Float[Tensor, "c h2 w2"]:
    """Maps of the crop at the centres of the region's pixels, bilinear."""
    x0, y0, x1, y1 = region
    x = (_centers(x0, x1, maps.device) - crop.left) / (crop.scale * crop.input_hw[1])
    y = (_centers(y0, y1, maps.device) - crop.top) / (crop.scale * crop.input_hw[0])
    return grid_sample(maps, _grid(x, y), padding_mode="border", align_corners=False)[0]


def framed(
    values: Shaped[Tensor, "h w *c"], region: Box, width: int, height: int, unknown: float
) -> Shaped[Tensor, "h2 w2 *c"]:
    """The region's values in a map of the picture's size, `unknown` elsewhere."""
    x0, y0, x1, y1 = region
    out = values.new_full((height, width, *values.shape[2:]), unknown)
    out[y0:y1, x0:x1] = values
    return out


def points_in_frame(points_input: Float[Tensor, "n 2"], crop: Crop) -> Float[Tensor, "n 2"]:
    """Input coordinates to those of the picture [px]."""
    return points_input * crop.scale + points_input.new_tensor((crop.left, crop.top))


def _first_center_from(edge: float) -> int:
    """Index of the first pixel whose centre is not before the edge."""
    return -int(-(edge - 0.5) // 1)


def _centers(start: int, stop: int, device: torch.device) -> Float[Tensor, " n"]:
    return torch.arange(start, stop, device=device, dtype=torch.float32) + 0.5


def _grid(x: Float[Tensor, " w"], y: Float[Tensor, " h"]) -> Float[Tensor, "1 h w 2"]:
    """For grid_sample without aligned corners, where -1 and 1 are a map's edges. `x`, `y` in 0..1 from edge to edge."""
    return torch.stack(torch.meshgrid(2 * x - 1, 2 * y - 1, indexing="xy"), -1)[None]
