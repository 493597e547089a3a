"""Into the crop and back. Kinds: property (random boxes), facts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmgs_core.priors.sapiens.crop import (
    MEAN,
    STD,
    Crop,
    at_frame_pixels,
    cropped_pixels,
    framed,
    person_crop,
    points_in_frame,
)

INPUT_HW = (128, 96)
WIDTH, HEIGHT = 250, 200
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))]


@st.composite
def boxes(draw) -> tuple[int, int, int, int]:
    x0, y0 = draw(st.integers(0, WIDTH - 10)), draw(st.integers(0, HEIGHT - 10))
    return x0, y0, draw(st.integers(x0 + 8, WIDTH)), draw(st.integers(y0 + 8, HEIGHT))


@given(boxes())
def test_a_crop_holds_the_padded_box_at_the_inputs_aspect(box):
    crop = person_crop(box, INPUT_HW, 1.25)
    width, height = crop.scale * INPUT_HW[1], crop.scale * INPUT_HW[0]
    x0, y0, x1, y1 = box
    assert width >= 1.25 * (x1 - x0) - 1e-9 and height >= 1.25 * (y1 - y0) - 1e-9
    assert width == pytest.approx(1.25 * (x1 - x0)) or height == pytest.approx(1.25 * (y1 - y0)), "no larger than it must be"
    assert crop.left + width / 2 == pytest.approx((x0 + x1) / 2) and crop.top + height / 2 == pytest.approx((y0 + y1) / 2)


@given(boxes())
def test_a_region_is_the_pixels_whose_centres_are_inside(box):
    crop = person_crop(box, INPUT_HW)
    x0, y0, x1, y1 = crop.region(WIDTH, HEIGHT)
    x, y = np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5
    inside_x = (x >= crop.left) & (x < crop.left + crop.scale * INPUT_HW[1])
    inside_y = (y >= crop.top) & (y < crop.top + crop.scale * INPUT_HW[0])
    assert np.flatnonzero(inside_x).tolist() == list(range(x0, x1))
    assert np.flatnonzero(inside_y).tolist() == list(range(y0, y1))


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=30)
@given(box=boxes())
def test_the_input_shows_the_picture_where_it_says(device: str, box):
    """A ramp's value is the place where it was sampled."""
    ramp = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    ramp[..., 0], ramp[..., 1] = torch.arange(WIDTH), torch.arange(HEIGHT)[:, None]
    crop = person_crop(box, INPUT_HW)
    rgb = cropped_pixels(ramp.to(device), crop).cpu()[0] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    rows, columns = torch.meshgrid(torch.arange(INPUT_HW[0]) + 0.5, torch.arange(INPUT_HW[1]) + 0.5, indexing="ij")
    x, y = crop.left + crop.scale * columns, crop.top + crop.scale * rows
    inside = (x > 0.5) & (x < WIDTH - 0.5) & (y > 0.5) & (y < HEIGHT - 0.5)
    # Bilinear sampling of a ramp is exact; what is left is float32 and the weights' 8 to 9 bits of grid_sample on CUDA.
    torch.testing.assert_close(rgb[0][inside], (x - 0.5)[inside], atol=0.01, rtol=0)
    torch.testing.assert_close(rgb[1][inside], (y - 0.5)[inside], atol=0.01, rtol=0)
    outside = (x < -0.5) | (x > WIDTH + 0.5) | (y < -0.5) | (y > HEIGHT + 0.5)
    assert rgb[:, outside].abs().max().item() < 1e-3 if outside.any() else True, "black"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("share", [1, 2, 4])
@settings(max_examples=30)
@given(box=boxes())
def test_coordinates_come_back_to_their_pixels(device: str, share: int, box):
    """Maps of the input's size and of a half and a quarter of it that hold their own input coordinates."""
    crop = person_crop(box, INPUT_HW)
    maps = coordinates(INPUT_HW, share).to(device)
    region = crop.region(WIDTH, HEIGHT)
    back = at_frame_pixels(maps, crop, region).cpu()
    points = points_in_frame(back.flatten(1).T, crop).reshape(*back.shape[1:], 2)
    x0, y0, x1, y1 = region
    rows, columns = torch.meshgrid(torch.arange(y0, y1) + 0.5, torch.arange(x0, x1) + 0.5, indexing="ij")
    error = (points - torch.stack([columns, rows], -1)).abs()
    # Within half a map pixel of the crop's edge there is nothing to interpolate with: the error is at most that half.
    assert error.max().item() <= 0.5 * share * crop.scale + 0.01
    margin = 0.5 * share * crop.scale
    inner = (columns > crop.left + margin) & (columns < crop.left + crop.scale * INPUT_HW[1] - margin)
    inner &= (rows > crop.top + margin) & (rows < crop.top + crop.scale * INPUT_HW[0] - margin)
    assert error[inner].max().item() <= 0.01 if inner.any() else True


def coordinates(input_hw: tuple[int, int], share: int) -> torch.Tensor:
    """(1, 2, h, w): x, y in the input of the centres of a map that is `share` times coarser."""
    y, x = ((torch.arange(side // share) + 0.5) * share for side in input_hw)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None]


def test_a_wide_picture_loses_nothing_to_float32():
    crop = person_crop((7000, 100, 7400, 900), (1024, 768))
    region = crop.region(7680, 4320)
    back = at_frame_pixels(coordinates((1024, 768), 1), crop, region)
    x = points_in_frame(back.flatten(1).T, crop)[:, 0].reshape(back.shape[1:])
    assert (x[10, 10:-10] - (torch.arange(region[0], region[2]) + 0.5)[10:-10]).abs().max() < 0.01


def test_a_framed_map_is_unknown_elsewhere():
    out = framed(torch.ones(2, 3, 2), (4, 1, 7, 3), 9, 5, torch.nan)
    assert out.shape == (5, 9, 2) and out[1:3, 4:7].isfinite().all() and out.isfinite().sum() == 12


def test_what_cannot_be():
    for box in ((5, 5, 5, 9), (5, 9, 8, 9), (9, 5, 5, 9)):
        with pytest.raises(ValueError, match="person: expected a box x0, y0, x1, y1 with x0 < x1"):
            person_crop(box, INPUT_HW)


def test_a_crop_beyond_the_picture_has_an_empty_region():
    assert Crop(300.0, 10.0, 0.1, INPUT_HW).region(WIDTH, HEIGHT)[:3:2] == (WIDTH, WIDTH)
