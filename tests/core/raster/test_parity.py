"""Parity of the numba backend with the reference: every picture and every gradient, for every set of channels.

The reference runs in double precision. Pixels at which some splat sits on a threshold are left out of both sides.
"""

from itertools import combinations

import numpy as np
import pytest
import torch

from fmgs_core.geometry import rigid
from fmgs_core.raster import rasterize
from fmgs_core.types import Camera, Channel, Rendering, Splats
from tests.core.raster.scenes import (
    EVERYTHING,
    IMAGES,
    camera,
    draw,
    gradients,
    leaves,
    random_gradients,
    random_splats,
    safe_pixels,
)

SUBSETS = [frozenset(c) for k in range(5) for c in combinations(Channel, k)]

# Largest difference allowed, relative to the largest value of the picture or gradient. Needed: 8e-5 for needles of a tenth
# of a pixel, 2e-5 otherwise, from single-precision pixel distances; a splat that is missing at a pixel shows at 4e-3.
VALUE_TOLERANCE = 3e-4
# Needed: 9e-5; a wrong or missing term shows at 1e-2.
GRADIENT_TOLERANCE = 1e-3


def assert_same_pictures(fast: Rendering, judge: Rendering, safe: torch.Tensor) -> None:
    for name in IMAGES:
        a, b = getattr(fast, name), getattr(judge, name)
        assert (a is None) == (b is None), name
        if a is not None and b.numel():
            a, b = a.detach().double()[safe], b.detach()[safe]
            assert torch.equal(a.isnan(), b.isnan()), name
            assert (a - b).nan_to_num().abs().max() <= VALUE_TOLERANCE * b.nan_to_num().abs().max().clamp(min=1), name


def assert_same(splats: Splats, view: Camera, channels: frozenset[Channel] = EVERYTHING, culled: bool = False) -> None:
    fast_splats, judge_splats = leaves(splats), leaves(splats, torch.float64)
    fast = rasterize(fast_splats, view, channels, backend="cpu", cull_backfaces=culled)
    judge = rasterize(judge_splats, view, channels, backend="reference", cull_backfaces=culled)
    safe = safe_pixels(splats, view, channels, culled)
    assert safe.double().mean() > 0.5
    assert_same_pictures(fast, judge, safe)

    # Where nothing is seen, normalised pictures have no gradient to compare.
    grads = random_gradients(fast, safe & (fast.alpha.detach() > 1 / 255))
    found, expected = gradients(fast, fast_splats, grads), gradients(judge, judge_splats, grads)
    for name, value in expected.items():
        error = (found[name].double() - value).abs().max()
        assert error <= GRADIENT_TOLERANCE * value.abs().max(), f"{name}: {error} of {value.abs().max()}"


@pytest.mark.parametrize("channels", SUBSETS, ids=lambda c: "+".join(sorted(x.value for x in c)) or "alpha")
def test_every_set_of_channels(channels):
    assert_same(random_splats(60, seed=len(channels)), camera(), channels)


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (16, 16), (17, 15), (32, 48), (65, 3)])
def test_picture_sizes_around_the_tile_size(size):
    assert_same(random_splats(50, seed=sum(size)), camera(*size, focal=30))


@pytest.mark.parametrize("classes", [1, 2, 28, 40])
def test_numbers_of_classes(classes):
    assert_same(random_splats(40, seed=classes, classes=classes), camera(), frozenset({Channel.LOGITS, Channel.RGB}))


def test_splats_below_the_low_pass():
    # 0.15 to 1.5 px standard deviation: in most of the picture the screen-space low-pass decides.
    assert_same(random_splats(300, seed=1, size=(5e-3, 5e-2)), camera())


def test_opaque_stack_ends_where_the_reference_ends():
    splats = random_splats(300, seed=2, size=(0.1, 0.4))
    splats.opacities.clamp_(min=0.8)
    drawn = draw(splats, camera())
    assert (1 - drawn.alpha < 1e-4).double().mean() > 0.3  # else this is not about the end
    assert_same(splats, camera())


def test_tile_with_a_gap_between_opaque_bands_is_not_given_up():
    """Twenty opaque bands end the first and the last row of a tile; a disk behind them still shows in between."""
    n = 21
    splats = Splats(
        means=torch.stack([torch.zeros(n), 0.25 * (-1.0) ** torch.arange(n), torch.linspace(-0.1, 0, n)], 1),
        quats=torch.tensor([[0.0, 1, 0, 0]]).repeat(n, 1),
        scales=torch.tensor([[0.5, 0.04]]).repeat(n, 1),
        opacities=torch.full((n,), 0.95),
        colors=torch.rand(n, 3),
        logits=torch.randn(n, 2),
    )
    splats.means[-1], splats.scales[-1] = torch.tensor([0.0, 0, 0.5]), 0.5
    view = Camera(np.array([[60.0, 0, 8], [0, 60, 8], [0, 0, 1]]), 16, 16, rigid(np.eye(3), np.array([0, 0, 2.0])))
    drawn = draw(splats, view)
    assert (1 - drawn.alpha[[0, 15]]).max() < 1e-4 and (1 - drawn.alpha[8]).max() > 0.01
    assert_same(splats, view)


def test_capped_alpha_has_no_gradient():
    splats = random_splats(4, seed=10, size=(2.0, 6.0))
    splats.opacities[:] = 1.0
    assert (draw(splats, camera()).alpha > 0.998).any()
    assert_same(splats, camera())


def test_huge_splats_and_planes_that_pass_behind_the_camera():
    splats = random_splats(12, seed=3, size=(1.0, 6.0), spread=1.0)
    assert_same(splats, camera(eye=(0.1, 0.3, 1.2)))


def test_culled_backfaces_are_those_of_the_reference():
    splats = random_splats(60, seed=4)
    assert_same(splats, camera(), culled=True)
    assert not torch.equal(draw(splats, camera()).alpha, draw(splats, camera(), cull_backfaces=True).alpha)


def test_nothing_beyond_the_bounding_boxes_is_missing():
    # Long thin splats across many tiles, opacity 1: the boxes are as tight as they get. The value tolerance is far under
    # the 1 / 255 that a cut-off row would show.
    splats = random_splats(80, seed=5, size=(0.005, 0.8))
    splats.opacities[:] = 0.99
    view = Camera(np.array([[90.0, 0, 60], [0, 90, 50], [0, 0, 1]]), 120, 100, rigid(np.eye(3), np.array([0.0, 0, 1.5])))
    fast, judge = draw(splats, view), rasterize(leaves(splats, torch.float64), view, EVERYTHING, backend="reference")
    assert_same_pictures(fast, judge, safe_pixels(splats, view))


def test_gradients_of_parts_sum_to_the_gradient_of_all():
    """Several calls of autograd.grad on one rendering, each with some of the outputs, as the trainer routes them."""
    splats = leaves(random_splats(60, seed=6))
    drawn = draw(splats, camera())
    grads = random_gradients(drawn, drawn.alpha > 1 / 255)
    whole = gradients(drawn, splats, grads, retain=True)
    groups = [("rgb", "alpha"), ("depth",), ("normal",), ("logits",)]
    parts = [gradients(drawn, splats, {n: grads[n] for n in group}, retain=True) for group in groups]
    for name, value in whole.items():
        # Needed: 4e-6, sums in another order.
        assert torch.allclose(sum(p[name] for p in parts), value, rtol=0, atol=3e-5 * value.abs().max().item()), name


def test_features_alone_get_the_gradient_they_get_with_geometry():
    """The backward pass without geometry is another kernel; the engine and requires_grad are its two triggers."""
    splats = leaves(random_splats(60, seed=7))
    drawn = draw(splats, camera())
    grads = random_gradients(drawn, drawn.alpha > 1 / 255)
    whole = gradients(drawn, splats, grads, retain=True)
    asked = torch.autograd.grad(drawn.logits, splats.logits, grads["logits"])[0]
    fixed = Splats(**{n: v.detach() for n, v in vars(splats).items() if n not in ("logits", "colors")},
                   logits=splats.logits, colors=splats.colors)  # fmt: skip
    drawn = draw(fixed, camera())
    only = torch.autograd.grad([drawn.logits, drawn.rgb], [splats.logits, splats.colors], [grads["logits"], grads["rgb"]])
    # Needed: 1e-6, transmittance by products here and by divisions there.
    for found, name in ((asked, "logits"), (only[0], "logits"), (only[1], "colors")):
        assert torch.allclose(found, whole[name], rtol=0, atol=1e-5 * whole[name].abs().max().item())


def test_gradient_reaches_only_what_was_asked():
    splats = leaves(random_splats(30, seed=8))
    drawn = draw(splats, camera())
    drawn.depth.nan_to_num().sum().backward()
    assert splats.colors.grad is None and splats.logits.grad is None
    assert all(getattr(splats, n).grad.abs().max() > 0 for n in ("means", "quats", "scales", "opacities"))


def test_inference_keeps_nothing_for_a_backward_pass():
    splats = random_splats(10)
    assert draw(splats, camera()).alpha.grad_fn is None
    with torch.no_grad():
        assert draw(leaves(splats), camera()).alpha.grad_fn is None
