"""Parity of the CUDA backend's own mathematics with the reference, on any machine: gsplat's place is taken by its twin.

What gsplat itself computes is held against the reference in tests/gpu, where there is a GPU.
"""

import inspect
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fmgs_core.raster import cuda, rasterize
from fmgs_core.raster.constants import TRANSMITTANCE_MIN
from fmgs_core.raster.reference import normalised
from fmgs_core.raster.screen import blended_depth, screen_splats
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
from tests.core.raster.test_poison import DRAWN, DROPPED, EDGE_ON_CAMERA, poisoned
from tests.core.raster.test_reference import AXIS, PINHOLE, one_splat

SKEWED = replace(PINHOLE, K=PINHOLE.K + np.array([[0, 25, 0], [0, 0, 0], [0, 0, 0]]))

EXACT = EVERYTHING - {Channel.DEPTH}


def draw(splats: Splats, view: Camera, channels: frozenset[Channel] = EVERYTHING, culled: bool = False) -> Rendering:
    return cuda.draw(gsplat_twin, splats, view, channels, culled)


def errors(
    splats: Splats, view: Camera, channels: frozenset[Channel], culled: bool = False, dtype: torch.dtype = torch.float64
) -> dict[str, float]:
    """Largest error per picture, relative to the largest value or 1, and per gradient, relative to the largest gradient.

    Pixels that end are left out: gsplat ends one splat earlier.
    """
    found_splats, judge_splats = leaves(splats, dtype), leaves(splats, torch.float64)
    found = draw(found_splats, view, channels, culled)
    judge = rasterize(judge_splats, view, channels, backend="reference", cull_backfaces=culled)
    safe = safe_pixels(splats, view, channels, culled) & (1 - judge.alpha.detach() > 1.01 * TRANSMITTANCE_MIN)
    assert safe.double().mean() > 0.5
    result = {}
    for name in IMAGES:
        a, b = getattr(found, name), getattr(judge, name)
        assert (a is None) == (b is None), name
        if b is not None and b.numel():
            a, b = a.detach().double()[safe], b.detach()[safe]
            assert torch.equal(a.isnan(), b.isnan()), name
            result[name] = ((a - b).nan_to_num().abs().max() / b.nan_to_num().abs().max().clamp(min=1)).item()
    grads = random_gradients(judge, safe & (judge.alpha.detach() > 1 / 255))
    found_grads, judge_grads = gradients(found, found_splats, grads), gradients(judge, judge_splats, grads)
    for name, b in judge_grads.items():
        result["d " + name] = ((found_grads[name].double() - b).abs().max() / b.abs().max().clamp(min=1e-30)).item()
    return result


def assert_equal(*args: object, **options: object) -> None:
    # Needed: 5e-14 in double precision.
    found = errors(*args, **options)  # type: ignore[arg-type]
    assert max(found.values()) < 1e-11, found


SCENES = {
    "all sizes": random_splats(60),
    "below the low-pass": random_splats(150, seed=1, size=(5e-3, 5e-2)),
    "long and thin": random_splats(60, seed=5, size=(0.003, 0.3), spread=0.3),
}


@pytest.mark.parametrize("splats", SCENES.values(), ids=SCENES.keys())
def test_all_but_depth_is_exact(splats):
    assert_equal(splats, camera(), EXACT)


@pytest.mark.parametrize("culled", [False, True])
@pytest.mark.parametrize("channels", [set(), {Channel.RGB}, {Channel.NORMAL}, {Channel.LOGITS}, {Channel.RGB, Channel.NORMAL}])
def test_sets_of_channels(channels, culled):
    assert_equal(random_splats(40, seed=4), camera(), frozenset(channels), culled)


@pytest.mark.parametrize("classes", [1, 2, 26, 28, 29, 40, 70])
def test_numbers_of_classes_in_one_call_or_several(classes):
    assert_equal(random_splats(30, seed=classes, classes=classes), camera(), EXACT)


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (16, 16), (17, 15), (65, 3)])
def test_picture_sizes_around_the_tile_size(size):
    assert_equal(random_splats(50, seed=sum(size)), camera(*size, focal=30), EXACT)


def test_crops_show_what_the_whole_shows():
    splats, whole = random_splats(40, seed=6), camera()
    crop = whole.cropped(-5, 9, 30, 40)
    assert_equal(splats, crop, EXACT)
    a, b = draw(leaves(splats, torch.float64), whole), draw(leaves(splats, torch.float64), crop)
    assert torch.allclose(a.depth[9:, :25], b.depth[:28, 5:], atol=1e-12, equal_nan=True)


def test_single_precision_keeps_the_digits():
    # Needed: 9e-5 of values and 8e-5 of gradients, from pixel distances in the kernel.
    for name, error in errors(SCENES["below the low-pass"], camera(), EXACT, dtype=torch.float32).items():
        assert error < 5e-4, (name, error)


def test_depth_of_a_slanted_disk_errs_by_the_square_of_its_size():
    """Error of the tangent to 1 / (1 + g . d): four times smaller for half the size, and gone from the gradient's mean."""
    found = []
    for scale in (0.04, 0.02):
        splats = one_splat(0.8)
        splats.scales[:] = scale
        view = SKEWED.resized(round(3.2 / scale), round(2.4 / scale))
        judge = rasterize(leaves(splats, torch.float64), view, EVERYTHING, backend="reference").depth.detach()
        seen = safe_pixels(splats, view) & judge.isfinite()
        found.append((draw(leaves(splats, torch.float64), view).depth.detach() - judge)[seen].abs().max().item())
    assert found[0] / found[1] == pytest.approx(4, rel=0.2)
    assert found[1] < 4e-3  # (3.3 x 0.02 m x tan 0.8)^2 / 2 m = 2.3e-3 m


def test_depth_of_small_splats_and_its_gradient():
    splats, view = random_splats(60, size=(0.02, 0.04), spread=0.1), camera(80, 70, focal=500)
    found = errors(splats, view, frozenset({Channel.DEPTH}))
    # Needed: 0.5 % of depth and 6 % of gradients; edge-on ones, which change depth by 0.1 m, cost that much.
    assert found["depth"] < 0.02, found
    assert max(found[f"d {n}"] for n in ("means", "opacities", "scales", "quats")) < 0.2, found


def test_depth_across_layers_is_the_mean():
    pair = [one_splat(depth=z, opacity=o) for z, o in ((3.0, 0.9), (2.0, 0.6))]
    drawn = draw(Splats(**{n: torch.cat([getattr(s, n) for s in pair]) for n in FIELDS}), AXIS)
    assert drawn.depth.item() == pytest.approx((0.6 * 2 + 0.36 * 3) / 0.96, abs=1e-5)


def test_depth_where_only_the_low_pass_reaches_stays_near_the_splat():
    splats = random_splats(200, seed=3, size=(1e-3, 1e-2))
    for i in range(200):
        drawn = draw(Splats(**{n: getattr(splats, n)[i : i + 1] for n in FIELDS}), camera())
        # The slope is at most 2 / sqrt(pi) supports a pixel (3.3 x 0.01 m, and 1e-3 of the depth) over 2.4 px.
        depth = drawn.depth[drawn.alpha > 1 / 255]
        assert not len(depth) or depth.max() - depth.min() < 2 * 2.4 * 1.13 * 0.036


def test_splats_seen_edge_on_are_dots():
    splats = leaves(poisoned(DRAWN["edge-on"]), torch.float64)
    alone = Splats(**{n: getattr(splats, n)[3:4] for n in FIELDS})
    drawn, judge = draw(alone, EDGE_ON_CAMERA), rasterize(alone, EDGE_ON_CAMERA, EVERYTHING, backend="reference")
    assert torch.allclose(drawn.alpha, judge.alpha, atol=1e-12) and (drawn.alpha > 0).sum() >= 5
    assert torch.allclose(drawn.depth, judge.depth, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("changes", DROPPED.values(), ids=DROPPED.keys())
def test_unusable_splats_are_as_if_absent(changes):
    # Wide enough to see the place where dropped splats are put.
    splats, view = leaves(poisoned(changes)), camera(focal=12)
    drawn = draw(splats, view)
    kept = [i for i in range(12) if i != 3]
    without = draw(Splats(**{n: getattr(splats, n).detach()[kept] for n in FIELDS}), view)
    for name in IMAGES:
        assert torch.equal(getattr(drawn, name).nan_to_num(), getattr(without, name).nan_to_num()), name
    for name, gradient in gradients(drawn, splats, random_gradients(drawn, torch.ones_like(drawn.alpha))).items():
        assert gradient.isfinite().all() and (gradient[3] == 0).all(), name


@pytest.mark.parametrize("view", [camera(), EDGE_ON_CAMERA], ids=["oblique", "in plane"])
@pytest.mark.parametrize("changes", DRAWN.values(), ids=DRAWN.keys())
def test_odd_splats_are_drawn_cleanly(changes, view):
    splats = leaves(poisoned(changes))
    drawn = draw(splats, view)
    assert drawn.alpha.min() >= 0 and drawn.alpha.max() <= 1
    assert torch.equal(drawn.depth.isnan(), drawn.alpha < 1 / 255)
    assert all(getattr(drawn, n).isfinite().all() for n in ("rgb", "normal", "logits"))
    found = gradients(drawn, splats, random_gradients(drawn, torch.ones_like(drawn.alpha)))
    assert all(g.isfinite().all() for g in found.values())


def test_splats_that_reach_behind_the_near_plane_are_dropped():
    splats = one_splat(tilt=1.4)
    for scale, nearest in ((0.6, 0.03), (0.58, 0.10)):  # m; the plane is at 0.05
        splats.scales[:] = scale
        assert (draw(splats, PINHOLE).alpha.max() > 0.5) == (nearest > 0.05)


def test_capped_opacity_has_no_gradient():
    splats = leaves(poisoned({"opacities": 2.0}))
    drawn = draw(splats, camera())
    found = gradients(drawn, splats, {"alpha": torch.ones_like(drawn.alpha)})
    assert found["opacities"][3] == 0 and (found["means"][3] != 0).any()


def test_no_splats_at_all():
    splats = leaves(random_splats(0))
    drawn = draw(splats, camera())
    assert drawn.alpha.max() == 0 and drawn.depth.isnan().all() and drawn.logits.shape == (37, 43, 5)
    assert gradients(drawn, splats, {"rgb": torch.ones(37, 43, 3)})["means"].shape == (0, 3)


def test_nothing_in_view():
    splats = leaves(one_splat(depth=-2.0))
    drawn = draw(splats, PINHOLE)
    assert drawn.alpha.max() == 0 and drawn.normal.abs().max() == 0
    assert all((g == 0).all() for g in gradients(drawn, splats, {"alpha": torch.ones(24, 32)}).values())


def test_nothing_is_read_back_from_the_device():
    """Tensors on the meta device have no values: what asks for one, and would wait for a GPU, raises."""
    splats = leaves(random_splats(20))
    there = Splats(**{n: torch.empty_like(getattr(splats, n), device="meta", requires_grad=True) for n in FIELDS})
    seen = screen_splats(there, camera(), EVERYTHING, True)
    blended = torch.einsum("n,nf->f", seen.opacities * seen.ray_transforms.sum((1, 2)), seen.features).expand(37, 43, -1)
    drawn = normalised(blended[..., 0], blended[..., :-3], blended_depth(blended[..., -3:]), EVERYTHING)
    sum(getattr(drawn, n).nan_to_num().sum() for n in IMAGES).backward()
    assert all(getattr(there, n).grad is not None for n in FIELDS)


def test_inference_keeps_nothing_for_a_backward_pass():
    with torch.no_grad():
        assert draw(leaves(random_splats(10)), camera()).alpha.grad_fn is None


@pytest.mark.parametrize("name", ["isect_tiles", "isect_offset_encode", "rasterize_to_pixels_2dgs"])
def test_the_twin_takes_what_gsplat_takes(name):
    """Arguments go by position: the twin's are the first of gsplat's. Needs gsplat's Python part only."""
    gsplat = pytest.importorskip("gsplat", reason="needs gsplat: pip install fmgs_ros[gpu]")
    twin, there = (list(inspect.signature(getattr(m, name)).parameters.values()) for m in (gsplat_twin, gsplat))
    assert [p.name for p in there][: len(twin)] == [p.name for p in twin]
    assert all(p.default is not p.empty for p in there[len(twin) :])


@pytest.fixture
def unloaded(monkeypatch):
    load = cuda.load_gsplat
    load.cache_clear()
    yield monkeypatch
    load.cache_clear()


def test_a_machine_without_a_gpu_is_told(unloaded):
    unloaded.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs an NVIDIA GPU"):
        rasterize(random_splats(1), camera(), backend="cuda")


@pytest.mark.parametrize(
    ("modules", "error", "message"),
    [
        ({"gsplat": None}, ModuleNotFoundError, r"pip install fmgs_ros\[gpu\]"),
        ({"gsplat.cuda._backend": None}, ImportError, "was not compiled"),
        ({"gsplat.cuda._backend": SimpleNamespace(_C=None)}, RuntimeError, "there is no nvcc"),
    ],
)
def test_what_gsplat_lacks_is_named(unloaded, modules, error, message):
    unloaded.setattr(torch.cuda, "is_available", lambda: True)
    package = {"gsplat": SimpleNamespace(__path__=[]), "gsplat.cuda": SimpleNamespace(__path__=[])}
    for name, module in (package | modules).items():
        unloaded.setitem(sys.modules, name, module)
    with pytest.raises(error, match=message):
        cuda.load_gsplat()


def test_splats_elsewhere_are_refused(unloaded):
    unloaded.setattr(cuda, "load_gsplat", lambda: gsplat_twin)
    with pytest.raises(ValueError, match=r"expected float32 on cuda, got torch\.float32 on cpu"):
        rasterize(random_splats(1), camera(), backend="cuda")
