"""Networks through torch, and the checks at every engine's border. Kinds: parity with the plain module, behaviour."""

import pytest
import torch
from torch import nn

from fmgs_core.priors.engines.engine import Engine, TensorSpec, network_io
from fmgs_core.priors.engines.torch_engine import TorchEngine

IO = network_io((8, 6), 2, (4, 3))


@pytest.fixture
def module() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Dropout(0.5), nn.AvgPool2d(2)).train()


def test_says_what_the_module_says(module: nn.Module):
    engine, pixels = TorchEngine(module, IO), torch.randn(3, 3, 8, 6)
    maps = engine.run(pixels)
    assert isinstance(engine, Engine) and engine.name == "torch cpu float32"
    assert torch.equal(maps, module.eval()(pixels)), "dropout is off"
    assert not maps.requires_grad and not module.training
    leaf = torch.zeros_like(maps).requires_grad_()
    (leaf * maps).sum().backward()
    assert leaf.grad is not None and torch.equal(leaf.grad, maps), "maps go into losses as they are"


def test_half_the_bits_keep_float32_at_the_border(module: nn.Module):
    pixels = torch.randn(1, 3, 8, 6)
    exact, rounded = (TorchEngine(module, IO, dtype=t).run(pixels) for t in (torch.float32, torch.bfloat16))
    assert rounded.dtype == torch.float32
    error = (rounded - exact).abs().max()
    assert 0 < error < 0.03, "8 bits of mantissa on values of about 1; equal would mean that nothing was rounded"


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.zeros(1, 3, 6, 8), r"expected pixels: float32 \(\* 3 8 6\), got pixels: float32 \(1 3 6 8\)"),
        (torch.zeros(0, 3, 8, 6), r"got pixels: float32 \(0 3 8 6\)"),
        (torch.zeros(3, 8, 6), r"got pixels: float32 \(3 8 6\)"),
        (torch.zeros(1, 3, 8, 6, dtype=torch.float64), "got pixels: float64"),
        (torch.zeros(1, 3, 8, 6, device="meta"), "expected a tensor on cpu, got one on meta"),
    ],
)
def test_other_pixels_are_refused(module: nn.Module, pixels: torch.Tensor, message: str):
    with pytest.raises(ValueError, match=message):
        TorchEngine(module, IO).run(pixels)


@pytest.mark.parametrize("device", ["cuda:99", "meta", "gpu"])
def test_a_device_that_is_not_there_is_refused(module: nn.Module, device: str):
    with pytest.raises(ValueError, match=f"device: expected .*, got '{device}'"):
        TorchEngine(module, IO, device=device)


def test_a_free_length_is_not_a_fixed_one():
    free, fixed = TensorSpec("x", (None, 3)), TensorSpec("x", (1, 3))
    assert free.admits_shape((1, 3)) and free.admits_shape((None, 3)) and not fixed.admits_shape((None, 3))
