"""SSIM against pytorch-msssim, its window, and its refusals."""

import pytest
import torch
from pytorch_msssim import ssim as package_ssim

from fmgs_core.training.ssim import ssim

# The loss is (1 - SSIM) / 5 over values with 8 bits: 1e-5 is far below what training or the eye can tell.
VALUE_TOLERANCE = 1e-5


def _pictures(h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.rand(h, w, 3)
    return a, (a + 0.2 * torch.randn(h, w, 3)).clamp(0, 1)


def test_values_are_those_of_pytorch_msssim_inside_the_border():
    a, b = _pictures(64, 48)
    packaged = package_ssim(a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None], data_range=1.0)
    torch.testing.assert_close(ssim(a, b)[5:-5, 5:-5].mean(), packaged, atol=VALUE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", [(7, 40), (1, 1)])
def test_pictures_smaller_than_the_window_have_a_map_of_their_size(size: tuple[int, int]):
    a, b = _pictures(*size)
    similarity = ssim(a, b)
    assert similarity.shape == (*size, 3) and (similarity <= 1).all() and (similarity < 0.999).any()


def test_equal_pictures_score_one():
    a = torch.rand(30, 30, 3)
    torch.testing.assert_close(ssim(a, a.clone()), torch.ones(30, 30, 3), atol=VALUE_TOLERANCE, rtol=0)


def test_only_the_pixels_of_the_window_feel_a_pixel():
    a, b = _pictures(31, 31)
    a.requires_grad_()
    ssim(a, b)[15, 15, 1].backward()
    assert a.grad is not None
    felt = a.grad != 0
    assert not felt[:, :, [0, 2]].any(), "channels do not mix"
    inside = torch.zeros(31, 31, dtype=torch.bool)
    inside[10:21, 10:21] = True
    assert not felt[:, :, 1][~inside].any() and felt[:, :, 1][inside].all()


@pytest.mark.parametrize(("a", "b"), [((9, 9, 3), (9, 8, 3)), ((9, 9), (9, 9)), ((9, 9, 4), (9, 9, 4))])
def test_pictures_that_do_not_fit_are_refused(a: tuple[int, ...], b: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"ssim: expected two pictures of one shape \(h, w, 3\), got"):
        ssim(torch.rand(a), torch.rand(b))
