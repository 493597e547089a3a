"""Parity of SSIM with pytorch-msssim and of its gradient with autograd through a torch twin; finite differences; poison."""

import pytest
import torch
from pytorch_msssim import ssim as package_ssim
from torch.nn.functional import conv2d

from fmgs_core.training.ssim import ssim

# The loss is (1 - SSIM) / 5 over values with 8 bits: 1e-5 is far below what training or the eye can tell.
VALUE_TOLERANCE = 1e-5
SIZES = [(64, 48), (7, 40), (40, 7), (1, 1), (11, 11)]


def _twin(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """SSIM as ten torch convolutions with zero padding."""
    taps = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=a.dtype) / 1.5) ** 2)
    taps = taps / taps.sum()
    fields = torch.stack([a, b, a * a, b * b, a * b]).permute(0, 3, 1, 2).flatten(0, 1)[:, None]
    fields = conv2d(conv2d(fields, taps.view(1, 1, 11, 1), padding=(5, 0)), taps.view(1, 1, 1, 11), padding=(0, 5))
    mean_a, mean_b, square_a, square_b, product = fields.view(5, 3, *a.shape[:2])
    numerator = (2 * mean_a * mean_b + 0.01**2) * (2 * (product - mean_a * mean_b) + 0.03**2)
    variances = square_a - mean_a**2 + square_b - mean_b**2
    return (numerator / ((mean_a**2 + mean_b**2 + 0.01**2) * (variances + 0.03**2))).permute(1, 2, 0)


def _pictures(h: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.rand(h, w, 3)
    return a, (a + 0.2 * torch.randn(h, w, 3)).clamp(0, 1)


def test_values_are_those_of_pytorch_msssim_inside_the_border():
    a, b = _pictures(64, 48)
    packaged = package_ssim(a.permute(2, 0, 1)[None], b.permute(2, 0, 1)[None], data_range=1.0)
    torch.testing.assert_close(ssim(a, b)[5:-5, 5:-5].mean(), packaged, atol=VALUE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_values_are_those_of_the_twin_up_to_the_border(size: tuple[int, int]):
    a, b = _pictures(*size)
    torch.testing.assert_close(ssim(a, b), _twin(a.double(), b.double()).float(), atol=VALUE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_gradient_is_autograds_through_the_twin(size: tuple[int, int]):
    a, b = _pictures(*size)
    ours, theirs, weight = a.clone().requires_grad_(), a.double().requires_grad_(), torch.randn(*size, 3)
    (ssim(ours, b) * weight).sum().backward()
    (_twin(theirs, b.double()) * weight).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    # float32 cancellation in E[aa] - E[a]^2, relative to the largest gradient
    tolerance = 1e-5 * theirs.grad.abs().max().item()
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=tolerance, rtol=0)


def test_gradient_on_flat_pictures_is_the_twins():
    """Black background behind a person: the variances are zero and only C1 and C2 keep the formula finite."""
    a, b = torch.zeros(32, 32, 3), torch.zeros(32, 32, 3)
    a[10:20, 10:20], b[12:22, 8:20] = 0.7, 0.6
    ours, theirs = a.clone().requires_grad_(), a.double().requires_grad_()
    ssim(ours, b).sum().backward()
    _twin(theirs, b.double()).sum().backward()
    assert ours.grad is not None and theirs.grad is not None
    # variances of 1e-7 times C2 = 9e-4: a relative error of 1e-4 is what float32 has there
    torch.testing.assert_close(ours.grad.double(), theirs.grad, atol=2e-3 * theirs.grad.abs().max().item(), rtol=0)


def test_gradient_matches_finite_differences():
    a, b = _pictures(24, 24)
    a.requires_grad_()
    ssim(a, b).sum().backward()
    step = torch.randn(24, 24, 3)
    with torch.no_grad():
        expected = (_sum(a + 1e-3 * step, b) - _sum(a - 1e-3 * step, b)) / 2e-3
    assert a.grad is not None
    # central differences of float32 values: 1e-3 of a slope of about ten
    torch.testing.assert_close((a.grad.double() * step).sum(), expected, rtol=1e-2, atol=1e-2)


def _sum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ssim(a, b).double().sum()


def test_equal_pictures_score_one_and_have_no_gradient():
    a = torch.rand(30, 30, 3, requires_grad=True)
    similarity = ssim(a, a.detach().clone())
    similarity.sum().backward()
    torch.testing.assert_close(similarity.detach(), torch.ones(30, 30, 3), atol=VALUE_TOLERANCE, rtol=0)
    assert a.grad is not None and a.grad.abs().max() < 1e-2, "the maximum is flat; gradients elsewhere are of order ten"


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


def test_gradients_that_are_not_contiguous_are_read_right():
    a, b = _pictures(20, 16)
    plain, transposed = a.clone().requires_grad_(), a.transpose(0, 1).contiguous().requires_grad_()
    weight = torch.randn(20, 16, 3)
    (ssim(plain, b) * weight).sum().backward()
    (ssim(transposed.transpose(0, 1), b).transpose(0, 1) * weight.transpose(0, 1)).sum().backward()
    assert plain.grad is not None and transposed.grad is not None
    torch.testing.assert_close(transposed.grad.transpose(0, 1), plain.grad, atol=0, rtol=0)


def test_repeated_calls_are_equal_bit_for_bit():
    a, b = _pictures(100, 90)
    runs = []
    for _ in range(3):
        leaf = a.clone().requires_grad_()
        value = ssim(leaf, b)
        value.sum().backward()
        runs.append((value.detach(), leaf.grad))
    for value, gradient in runs[1:]:
        assert torch.equal(value, runs[0][0]) and torch.equal(gradient, runs[0][1])


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30, 1e-40])
def test_a_poisoned_pixel_stays_within_its_window(poison: float):
    a, b = _pictures(40, 40)
    clean = ssim(a, b)
    a[20, 20, 1] = poison
    dirty = ssim(a, b)
    outside = torch.ones(40, 40, dtype=torch.bool)
    outside[15:26, 15:26] = False
    assert torch.equal(dirty[outside], clean[outside]) and torch.equal(dirty[:, :, [0, 2]], clean[:, :, [0, 2]])


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.rand(8, 8, 3), torch.rand(8, 9, 3), "expected two pictures of one size"),
        (torch.rand(8, 8, 4), torch.rand(8, 8, 4), "expected a of shape"),
        (torch.rand(8, 8), torch.rand(8, 8), "expected a of shape"),
        (torch.rand(8, 8, 3), torch.rand(8, 8, 3).double(), "expected b as float32 on the CPU, got torch.float64"),
        (torch.rand(8, 8, 3), torch.rand(8, 8, 3, requires_grad=True), "expected an observed picture b without gradient"),
    ],
)
def test_bad_pictures_are_refused(a: torch.Tensor, b: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        ssim(a, b)
