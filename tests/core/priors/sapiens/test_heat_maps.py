"""Peaks of heat maps. Kinds: known answers, property, poison, behaviour at the borders."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmgs_core.priors.sapiens.heat_maps import keypoints_in_input, layout_of, peaks

HW = (64, 48)


def gaussians(points: torch.Tensor, sigma: float = 6.0, height: float = 1.0) -> torch.Tensor:
    """One map for each x, y [map pixel indices]."""
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in HW), indexing="ij")
    squared = (x - points[:, :1, None]) ** 2 + (y - points[:, 1:, None]) ** 2
    return height * torch.exp(-squared / (2 * sigma**2))


@given(st.floats(12, 35), st.floats(12, 51), st.floats(2, 8), st.floats(0.1, 1))
def test_the_place_of_a_gaussian_is_found_between_pixels(x: float, y: float, sigma: float, height: float):
    point = torch.tensor([[x, y]])
    found, heights = peaks(gaussians(point, sigma, height))
    # 4 px of the input are a map pixel: 0.02 of one is 0.1 px; the argmax alone is off by up to 0.5.
    assert (found - point).abs().max() < 0.02
    assert heights.item() == pytest.approx(height, rel=0.1)


def test_many_maps_are_each_on_their_own():
    points = torch.rand(308, 2) * torch.tensor([20.0, 36.0]) + 14
    found, _ = peaks(gaussians(points))
    assert (found - points).abs().max() < 0.02


@pytest.mark.parametrize("point", [(20.4, 29.7), (19.8, 30.4)])
def test_a_slanted_gaussian_needs_the_mixed_derivative(point: tuple[float, float]):
    y, x = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in HW), indexing="ij")
    dx, dy = x - point[0], y - point[1]
    slanted = torch.exp(-(dx**2 + dy**2 - 1.6 * dx * dy) / 30)[None]
    assert (peaks(slanted)[0] - torch.tensor([point])).abs().max() < 0.05


def test_peaks_at_the_edge_stay_there():
    points = torch.tensor([[0.0, 0.0], [47.0, 63.0], [0.3, 40.0]])
    assert (peaks(gaussians(points))[0] - points).abs().max() <= 1


def test_maps_without_a_peak_stay_at_the_highest_pixel():
    flat, noise = torch.zeros(1, *HW), torch.zeros(1, *HW)
    noise[0, 10, 20] = 1e-5
    ridge = torch.zeros(1, *HW)
    ridge[0, 30] = 1.0
    found, heights = peaks(torch.cat([flat, noise, ridge]))
    assert found[0].tolist() == [0, 0] and found[1].tolist() == [20, 10] and found[2, 1] == 30
    assert heights.tolist() == pytest.approx([0, 1e-5, 1])


def test_first_and_last_centres_of_map_and_input_lie_on_each_other():
    corners = torch.tensor([[0.0, 0.0], [47.0, 63.0]])
    maps = torch.zeros(2, *HW)
    maps[0, 0, 0] = maps[1, 63, 47] = 1e-4  # below the floor: no step
    points = keypoints_in_input(maps, (256, 192))
    torch.testing.assert_close(points[:, :2], corners / corners[1] * torch.tensor([191.0, 255.0]) + 0.5)


@pytest.mark.parametrize(("height", "confidence"), [(-0.2, 0.0), (0.4, 0.4), (1.7, 1.0)])
def test_confidence_is_the_height_in_0_to_1(height: float, confidence: float):
    maps = torch.full((1, *HW), -1.0)
    maps[0, 5, 5] = height
    assert keypoints_in_input(maps, (256, 192))[0, 2].item() == pytest.approx(confidence)


def test_layouts():
    assert [layout_of(n) for n in (308, 133, 17)] == ["sapiens308", "coco_wholebody133", "coco17"]
    with pytest.raises(ValueError, match=r"expected heat maps of 308 \(sapiens308\), 133 .*, got 21"):
        layout_of(21)
