"""The network's shapes and names. Kinds: facts of the published files, property, parity with a step-by-step twin."""

import math

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, gelu, instance_norm, layer_norm, linear, silu

from fmgs_core.priors.sapiens.architecture import ARCHITECTURES, HEADS, TINY, Architecture, NetworkSpec, padding_of, spec_for
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task

HW = (64, 48)


def tiny(task: Task, channels: int | None = None) -> SapiensNetwork:
    return SapiensNetwork(spec_for(TINY, task, channels, HW)).eval()


@pytest.mark.parametrize(
    ("task", "tensors", "channels", "output_hw"),
    [
        (Task.NORMAL, 304, 3, (512, 384)),
        (Task.SEG, 304, 28, (512, 384)),
        (Task.DEPTH, 303, 1, (1024, 768)),
        (Task.POSE, 301, 308, (256, 192)),
    ],
)
def test_the_published_size_has_the_published_tensors(task, tensors, channels, output_hw):
    with torch.device("meta"):
        network = SapiensNetwork(spec_for(ARCHITECTURES["0.3b"], task))
    state = network.state_dict()
    assert len(state) == tensors and sum(key.startswith("backbone.") for key in state) == 293
    assert state["backbone.pos_embed"].shape == (1, 3072, 1024)
    assert network.spec.output_hw == output_hw and network.spec.channels == channels
    prefix, final = ("head", "final_layer") if task is Task.POSE else ("decode_head", "conv_seg")
    width = 384 if task is Task.DEPTH else 768
    assert state[f"{prefix}.{final}.weight"].shape == (channels, width, 1, 1)
    assert state[f"{prefix}.deconv_layers.0.weight"].shape == (1024, width, 4, 4)
    keys = {key for key in state if key.startswith(("backbone.layers.23.", prefix))}
    layer = ("ln1", "ln2", "attn.qkv", "attn.proj", "ffn.layers.0.0", "ffn.layers.1")
    last_deconv, last_conv = {Task.DEPTH: (9, 3), Task.POSE: (3, 3)}.get(task, (6, 6))
    expected = {f"backbone.layers.23.{name}.{kind}" for name in layer for kind in ("weight", "bias")}
    expected |= {f"{prefix}.deconv_layers.{i}.weight" for i in range(0, last_deconv + 1, 3)}
    expected |= {f"{prefix}.conv_layers.{i}.{kind}" for i in range(0, last_conv + 1, 3) for kind in ("weight", "bias")}
    assert keys == expected | {f"{prefix}.{final}.weight", f"{prefix}.{final}.bias"}


@pytest.mark.parametrize(("name", "billions"), [("0.3b", 0.336), ("0.6b", 0.664), ("1b", 1.169), ("2b", 2.163)])
def test_sizes_have_the_published_numbers_of_weights(name: str, billions: float):
    """The model cards count head and all; the head is 1 to 5 % of it."""
    with torch.device("meta"):
        network = SapiensNetwork(spec_for(ARCHITECTURES[name], Task.SEG))
    assert sum(p.numel() for p in network.parameters()) / 1e9 == pytest.approx(billions, rel=0.06)


@pytest.mark.parametrize("task", HEADS)
@torch.no_grad()
def test_every_task_equals_its_twin(task: Task):
    """Parity with the same mathematics written out from the state dict, key by key."""
    network = tiny(task)
    pixels = torch.randn(2, 3, *HW)
    got = network(pixels)
    assert got.shape == (2, network.spec.channels, *network.spec.output_hw)
    torch.testing.assert_close(got, twin(network, pixels), atol=1e-5, rtol=1e-4)


def twin(network: SapiensNetwork, pixels: torch.Tensor) -> torch.Tensor:
    s, spec = network.state_dict(), network.spec
    rows, columns, dim = *spec.tokens_hw, spec.architecture.embed_dim

    def at(x, name, function=linear):
        return function(x, s[f"{name}.weight"], s[f"{name}.bias"])

    def norm(x, name):
        return at(x, name, lambda x, w, b: layer_norm(x, (dim,), w, b, 1e-6))

    x = conv2d(pixels, s["backbone.patch_embed.projection.weight"], s["backbone.patch_embed.projection.bias"], 16, spec.padding)
    x = x.reshape(len(pixels), dim, rows * columns).mT + s["backbone.pos_embed"]
    for i in range(spec.architecture.layers):
        layer = f"backbone.layers.{i}"
        heads = at(norm(x, f"{layer}.ln1"), f"{layer}.attn.qkv").chunk(3, -1)
        q, k, v = (h.reshape(len(x), rows * columns, spec.architecture.heads, -1).transpose(1, 2) for h in heads)
        weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + at((weights @ v).transpose(1, 2).reshape(x.shape), f"{layer}.attn.proj")
        x = x + at(gelu(at(norm(x, f"{layer}.ln2"), f"{layer}.ffn.layers.0.0")), f"{layer}.ffn.layers.1")
    x = norm(x, "backbone.ln1").mT.reshape(len(x), dim, rows, columns)
    head = spec.head.prefix
    for i in range(spec.head.deconvs):
        x = silu(instance_norm(conv_transpose2d(x, s[f"{head}.deconv_layers.{3 * i}.weight"], None, 2, 1)))
    for i in range(spec.head.convs):
        x = silu(instance_norm(at(x, f"{head}.conv_layers.{3 * i}", conv2d)))
    return at(x, f"{head}.{spec.head.final}", conv2d)


def test_padding_follows_the_task():
    """Facts: a wrong padding loads silently, so it must come from the task."""
    seg = {channels: padding_of(Task.SEG, channels) for channels in (20, 28)}
    assert seg == {20: 2, 28: 0}
    assert [padding_of(t, c) for t, c in ((Task.NORMAL, 3), (Task.POSE, 308), (Task.DEPTH, 1))] == [2, 2, 0]
    network = tiny(Task.NORMAL)
    other = SapiensNetwork(NetworkSpec(TINY, Task.NORMAL, 3, 0, HW)).eval()
    other.load_state_dict(network.state_dict())
    pixels = torch.randn(1, 3, *HW)
    with torch.no_grad():
        assert not torch.allclose(network(pixels), other(pixels), atol=1e-2), "the trap: same weights, another answer"


def test_a_batch_is_its_pictures():
    network, pixels = tiny(Task.SEG), torch.randn(3, 3, *HW)
    with torch.no_grad():
        torch.testing.assert_close(network(pixels), torch.cat([network(p[None]) for p in pixels]), atol=1e-4, rtol=1e-4)


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"heads: expected a divisor of embed_dim 64, got 3"):
        Architecture("x", 64, 2, 3)
    with pytest.raises(ValueError, match=r"layers: expected at least 1, got 0"):
        Architecture("x", 64, 0, 2)
    with pytest.raises(ValueError, match=r"input_hw: expected multiples of 16, got \(60, 48\)"):
        spec_for(TINY, Task.SEG, input_hw=(60, 48))
    with pytest.raises(ValueError, match=r"channels: expected 3 for normal, got 4"):
        spec_for(TINY, Task.NORMAL, 4)
    with pytest.raises(ValueError, match=r"task: expected normal, seg, depth, pose, got matting"):
        spec_for(TINY, Task.MATTING)
    with pytest.raises(ValueError, match=r"padding: expected 0 or 2, got 1"):
        NetworkSpec(TINY, Task.SEG, 28, 1)
