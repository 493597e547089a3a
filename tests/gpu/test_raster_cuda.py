"""The CUDA backend with gsplat itself, on a GPU: parity with the reference, poison, waiting and memory.

The tolerances are not measured: tests/core/raster/test_cuda.py needs 9e-5 in single precision with gsplat's twin, and gsplat's
fast exponential and division add 1e-6 or so per splat. A missing splat shows at 4e-3, a wrong gradient at 1e-2.
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fmgs_core.raster import cuda, rasterize
from fmgs_core.raster.constants import TRANSMITTANCE_MIN
from fmgs_core.types import Camera, Channel, Rendering, Splats
from tests.core.raster import gsplat_twin
from tests.core.raster.scenes import (
    EVERYTHING,
    FIELDS,
    IMAGES,
    camera,
    gradients,
    leaves,
    random_gradients,
    random_splats,
    safe_pixels,
)
from tests.core.raster.test_poison import DRAWN, DROPPED, poisoned
from tests.core.raster.test_reference import AXIS, one_splat

pytestmark = pytest.mark.gpu

EXACT = EVERYTHING - {Channel.DEPTH}
VALUE_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 3e-3


def on_gpu(splats: Splats) -> Splats:
    return Splats(**{n: getattr(splats, n).detach().float().cuda().requires_grad_() for n in FIELDS})


def draw(splats: Splats, view: Camera, channels: frozenset[Channel] = EVERYTHING, culled: bool = False) -> Rendering:
    return rasterize(splats, view, channels, backend="cuda", cull_backfaces=culled)


def assert_same(
    splats: Splats, view: Camera, channels: frozenset[Channel] = EXACT, culled: bool = False, twin: bool = False
) -> None:
    """Same pictures and gradients as the reference (or, for depth, as gsplat's twin) where no threshold decides."""
    found_splats, judge_splats = on_gpu(splats), leaves(splats, torch.float64)
    found = draw(found_splats, view, channels, culled)
    judge = (
        cuda.draw(gsplat_twin, judge_splats, view, channels, culled)
        if twin
        else rasterize(judge_splats, view, channels, backend="reference", cull_backfaces=culled)
    )
    safe = safe_pixels(splats, view, channels, culled) & (1 - judge.alpha.detach() > 1.01 * TRANSMITTANCE_MIN)
    assert safe.double().mean() > 0.5
    for name in IMAGES:
        a, b = getattr(found, name), getattr(judge, name)
        assert (a is None) == (b is None), name
        if b is not None and b.numel():
            a, b = a.detach().cpu().double()[safe], b.detach()[safe]
            assert torch.equal(a.isnan(), b.isnan()), name
            assert (a - b).nan_to_num().abs().max() <= VALUE_TOLERANCE * b.nan_to_num().abs().max().clamp(min=1), name
    grads = random_gradients(judge, safe & (judge.alpha.detach() > 1 / 255))
    expected = gradients(judge, judge_splats, grads)
    for name, value in gradients(found, found_splats, {n: g.cuda() for n, g in grads.items()}).items():
        error = (value.cpu().double() - expected[name]).abs().max()
        assert error <= GRADIENT_TOLERANCE * expected[name].abs().max(), f"{name}: {error} of {expected[name].abs().max()}"


@pytest.mark.parametrize("culled", [False, True])
@pytest.mark.parametrize("channels", [set(), {Channel.RGB}, {Channel.NORMAL}, {Channel.LOGITS}, EXACT])
def test_sets_of_channels(channels, culled):
    assert_same(random_splats(60), camera(), frozenset(channels), culled)


@pytest.mark.parametrize("classes", [1, 26, 28, 29, 40, 70])
def test_numbers_of_classes_in_one_call_or_several(classes):
    assert_same(random_splats(40, seed=classes, classes=classes), camera())


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (16, 16), (17, 15), (65, 3)])
def test_picture_sizes_around_the_tile_size(size):
    assert_same(random_splats(50, seed=sum(size)), camera(*size, focal=30))


def test_splats_below_the_low_pass():
    assert_same(random_splats(300, seed=1, size=(5e-3, 5e-2)), camera())


def test_long_and_thin_splats():
    assert_same(random_splats(60, seed=5, size=(0.003, 0.3), spread=0.3), camera())


def test_crop():
    assert_same(random_splats(40, seed=6), camera().cropped(-5, 9, 30, 40))


def test_depth_is_that_of_the_twin():
    assert_same(random_splats(60, size=(0.02, 0.04), spread=0.1), camera(80, 70, focal=500), EVERYTHING, twin=True)


def test_depth_across_layers_is_the_mean():
    pair = [one_splat(depth=z, opacity=o) for z, o in ((3.0, 0.9), (2.0, 0.6))]
    drawn = draw(on_gpu(Splats(**{n: torch.cat([getattr(s, n) for s in pair]) for n in FIELDS})), AXIS)
    assert drawn.depth.item() == pytest.approx((0.6 * 2 + 0.36 * 3) / 0.96, abs=1e-4)


def test_a_pixel_ends_before_the_splat_that_closes_it():
    """The documented difference: behind both a transmittance of 0.02 x 0.004 = 8e-5 would be left."""
    pair = [one_splat(depth=2.0, opacity=0.98), one_splat(depth=3.0, opacity=0.996)]
    splats = Splats(**{n: torch.cat([getattr(s, n) for s in pair]) for n in FIELDS})
    assert draw(on_gpu(splats), AXIS).alpha.item() == pytest.approx(0.98, abs=1e-4)


@pytest.mark.parametrize("changes", DROPPED.values(), ids=DROPPED.keys())
def test_unusable_splats_are_as_if_absent(changes):
    splats, view = on_gpu(poisoned(changes)), camera(focal=12)
    drawn = draw(splats, view)
    kept = [i for i in range(12) if i != 3]
    without = draw(Splats(**{n: getattr(splats, n).detach()[kept] for n in FIELDS}), view)
    for name in IMAGES:
        assert torch.equal(getattr(drawn, name).nan_to_num(), getattr(without, name).nan_to_num()), name
    grads = {n: g.cuda() for n, g in random_gradients(drawn, torch.ones(37, 43)).items()}
    for name, gradient in gradients(drawn, splats, grads).items():
        assert gradient.isfinite().all() and (gradient[3] == 0).all(), name


@pytest.mark.parametrize("changes", DRAWN.values(), ids=DRAWN.keys())
def test_odd_splats_are_drawn_cleanly(changes):
    splats = on_gpu(poisoned(changes))
    drawn = draw(splats, camera())
    assert drawn.alpha.min() >= 0 and drawn.alpha.max() <= 1
    assert torch.equal(drawn.depth.isnan(), drawn.alpha < 1 / 255)
    assert all(getattr(drawn, n).isfinite().all() for n in ("rgb", "normal", "logits"))
    grads = {n: g.cuda() for n, g in random_gradients(drawn, torch.ones(37, 43)).items()}
    assert all(g.isfinite().all() for g in gradients(drawn, splats, grads).values())


def test_no_splats_and_nothing_in_view():
    for splats in (on_gpu(random_splats(0)), on_gpu(replace(one_splat(depth=4.0), logits=torch.zeros(1, 5)))):
        drawn = draw(splats, camera())
        assert drawn.alpha.max() == 0 and drawn.depth.isnan().all() and drawn.logits.shape == (37, 43, 5)
        found = gradients(drawn, splats, {"rgb": torch.ones(37, 43, 3).cuda()})
        assert all((g == 0).all() for g in found.values())


def test_gradients_may_be_asked_for_several_times():
    splats = on_gpu(random_splats(60))
    drawn = draw(splats, camera())
    grads = {n: g.cuda() for n, g in random_gradients(drawn, (drawn.alpha > 1 / 255).cpu()).items()}
    whole = gradients(drawn, splats, grads, retain=True)
    parts = [gradients(drawn, splats, {n: g}, retain=True) for n, g in grads.items()]
    for name, value in whole.items():
        assert torch.allclose(sum(p[name] for p in parts), value, rtol=0, atol=1e-4 * value.abs().max().item()), name


def test_only_gsplat_waits_for_the_device():
    """Everything but gsplat's own read-back of the list length (in isect_tiles) runs under an error on waiting. Its
    torch.cuda.synchronize() in the backward pass is a wait too, which this mode of torch does not watch."""
    gsplat, splats, view = cuda.load_gsplat(), on_gpu(random_splats(60)), camera()

    def isect_tiles(*args: object) -> object:
        torch.cuda.set_sync_debug_mode("default")
        try:
            return gsplat.isect_tiles(*args)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    def step(package: object) -> None:
        drawn = cuda.draw(package, splats, view, EVERYTHING, True)
        loss = torch.stack([getattr(drawn, n).nan_to_num().sum() for n in IMAGES]).sum()
        torch.autograd.grad(loss, [getattr(splats, n) for n in FIELDS])

    step(gsplat)  # kernels are loaded at their first use, which waits
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(SimpleNamespace(**(vars(gsplat) | {"isect_tiles": isect_tiles})))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_memory_stays_flat_over_200_calls():
    splats, view = on_gpu(random_splats(500)), camera(200, 150, focal=200)

    def step() -> int:
        drawn = draw(splats, view)
        torch.autograd.grad(torch.stack([getattr(drawn, n).nan_to_num().sum() for n in IMAGES]).sum(), splats.means)
        del drawn
        return torch.cuda.memory_allocated()

    for _ in range(5):
        start = step()
    assert all(step() == start for _ in range(200))


def test_warm_up_says_so_once_and_draws():
    said: list[str] = []
    cuda.compile_gsplat(said.append, num_classes=28)
    assert len(said) == 1 and "gsplat" in said[0]
