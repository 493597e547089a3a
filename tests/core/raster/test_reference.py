"""The reference against closed forms, and its gradient against finite differences away from thresholds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fmgs_core.raster import rasterize
from fmgs_core.raster.constants import ALPHA_MAX, ALPHA_MIN
from fmgs_core.raster.reference import camera_splats, intersect
from fmgs_core.types import Camera, Channel, Splats
from tests.core.raster.scenes import (
    CPU_BACKENDS,
    EVERYTHING,
    FIELDS,
    IMAGES,
    camera,
    leaves,
    random_gradients,
    random_splats,
    safe_pixels,
)

PINHOLE = Camera(np.array([[50.0, 0, 16], [0, 40, 12], [0, 0, 1]]), 32, 24, np.eye(4))

AXIS = Camera(np.array([[50.0, 0, 0.5], [0, 50, 0.5], [0, 0, 1]]), 1, 1, np.eye(4))  # one pixel


def one_splat(tilt: float = 0.0, depth: float = 2.0, opacity: float = 0.8, flipped: bool = False) -> Splats:
    """A disk of 0.3 m on the optical axis, turned by `tilt` [rad] about the y axis, its normal away from the camera
    unless flipped."""
    angle = tilt + (math.pi if flipped else 0.0)
    return Splats(
        means=torch.tensor([[0.0, 0, depth]]),
        quats=torch.tensor([[math.cos(angle / 2), 0, math.sin(angle / 2), 0]]),
        scales=torch.tensor([[0.3, 0.3]]),
        opacities=torch.tensor([opacity]),
        colors=torch.tensor([[0.2, 0.5, 0.9]]),
        logits=torch.tensor([[1.0, -2.0]]),
    )


def rays() -> torch.Tensor:
    """(h, w, 3) viewing rays with z = 1."""
    y, x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    return torch.stack([(x - 16) / 50, (y - 12) / 40, torch.ones_like(x)], -1)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("tilt", [0.0, 0.4, -1.0])
def test_slanted_disk_in_closed_form(backend, tilt):
    drawn = rasterize(one_splat(tilt), PINHOLE, EVERYTHING, backend=backend)
    n = torch.tensor([math.sin(tilt), 0, math.cos(tilt)])
    z = 2.0 * n[2] / (rays() @ n)  # n . (z ray) = n . mu
    offset = rays() * z[..., None] - torch.tensor([0.0, 0, 2])
    alpha = 0.8 * torch.exp(-0.5 * offset.pow(2).sum(-1) / 0.3**2)
    seen = alpha > 0.02  # beyond, the low-pass and the threshold have their say

    assert torch.allclose(drawn.alpha[seen], alpha[seen], atol=2e-5)
    assert torch.allclose(drawn.depth[seen], z[seen], atol=2e-5)
    assert torch.allclose(drawn.normal[seen], (-n).expand(int(seen.sum()), 3), atol=1e-6)
    assert torch.allclose(drawn.rgb[seen], alpha[seen][:, None] * torch.tensor([0.2, 0.5, 0.9]), atol=2e-5)
    assert torch.allclose(drawn.logits[seen], alpha[seen][:, None] * torch.tensor([1.0, -2.0]), atol=5e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_normals_face_the_camera_from_either_side(backend):
    back, front = (rasterize(one_splat(0.3, flipped=f), PINHOLE, EVERYTHING, backend=backend).normal for f in (False, True))
    assert torch.allclose(back, front, atol=1e-6) and (back[12, 16, 2] < -0.9)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_culling_tells_the_sides_apart(backend):
    away, towards = (
        rasterize(one_splat(0.3, flipped=f), PINHOLE, backend=backend, cull_backfaces=True).alpha for f in (False, True)
    )
    assert away.max() == 0 and towards.max() > 0.7


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_nothing_seen_reads_as_documented(backend):
    drawn = rasterize(one_splat(depth=-2.0), PINHOLE, EVERYTHING, backend=backend)
    assert drawn.depth.isnan().all()
    assert all((getattr(drawn, name) == 0).all() for name in IMAGES if name != "depth")


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_front_covers_back(backend):
    """Two large fronto-parallel disks, the nearer one given last: at the axis the sums have two terms."""
    pair = [one_splat(depth=z, opacity=o) for z, o in ((3.0, 0.9), (2.0, 0.6))]
    splats = Splats(**{n: torch.cat([getattr(s, n) for s in pair]) for n in FIELDS})
    splats.colors[0] = torch.tensor([1.0, 0, 0])
    drawn = rasterize(splats, AXIS, EVERYTHING, backend=backend)
    alpha = 0.6 + 0.4 * 0.9
    assert drawn.alpha.item() == pytest.approx(alpha, abs=1e-5)
    assert drawn.depth.item() == pytest.approx((0.6 * 2 + 0.36 * 3) / alpha, abs=1e-5)
    assert drawn.rgb[0, 0].tolist() == pytest.approx([0.6 * 0.2 + 0.36, 0.6 * 0.5, 0.6 * 0.9], abs=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_a_point_is_drawn_by_the_low_pass(backend):
    """A splat far thinner than a pixel: opacity exp(-|p - c|^2), the filter's standard deviation being 1 / sqrt(2) px."""
    point = one_splat(depth=2.0)
    point.scales[:] = 1e-5
    drawn = rasterize(point, PINHOLE, backend=backend).alpha
    y, x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    expected = 0.8 * torch.exp(-((x - 16) ** 2) - (y - 12) ** 2)
    assert torch.allclose(drawn, torch.where(expected >= 1 / 255, expected, 0.0), atol=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_alpha_is_capped(backend):
    assert rasterize(one_splat(opacity=1.0), AXIS, backend=backend).alpha.item() == pytest.approx(ALPHA_MAX, abs=1e-6)


def clamped_depth(splats: Splats, view: Camera) -> torch.Tensor:
    """Pixels (h, w) at which a contributor's depth is held to its support: there the gradient is not that of the value."""
    seen = camera_splats(splats, view, EVERYTHING, False)
    y, x = torch.meshgrid(torch.arange(view.height), torch.arange(view.width), indexing="ij")
    pixels = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
    exponent, held = intersect(seen, pixels)
    _, free = intersect(replace(seen, depth_spread=torch.full_like(seen.depth_spread, 1e6)), pixels)
    contributes = seen.opacities[:, None] * torch.exp(-exponent) >= ALPHA_MIN
    return ((held != free) & contributes).any(0).reshape(view.height, view.width)


def test_gradient_by_finite_differences():
    """Central differences of a random scalar of all pictures, one parameter at a time, in double precision."""
    splats, view = leaves(random_splats(7, seed=5, size=(0.15, 0.4), classes=2), torch.float64), camera(13, 11, focal=20)

    def scalar() -> torch.Tensor:
        drawn = rasterize(splats, view, EVERYTHING, backend="reference")
        return torch.stack([(getattr(drawn, n).nan_to_num() * grads[n]).sum() for n in IMAGES]).sum()

    drawn = rasterize(splats, view, EVERYTHING, backend="reference")
    usable = safe_pixels(splats, view) & (drawn.alpha > 0.05)
    grads = random_gradients(drawn, usable)
    grads["depth"] *= ~clamped_depth(splats, view)
    assert (grads["depth"] != 0).sum() > 30 and (grads["rgb"] != 0).all(-1).sum() > 50
    analytic = torch.autograd.grad(scalar(), [getattr(splats, n) for n in FIELDS])
    step = 1e-6
    for name, gradient in zip(FIELDS, analytic, strict=True):
        flat = getattr(splats, name).data.view(-1)
        for k in range(len(flat)):
            kept, ends = flat[k].item(), []
            for sign in (1, -1):
                flat[k] = kept + sign * step
                ends.append(float(scalar().detach()))
            flat[k] = kept
            # Needed: 3e-8 of gradients of size 1 to 30.
            assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(gradient.view(-1)[k].item(), abs=1e-6, rel=1e-6), (name, k)


def test_reference_works_in_single_precision():
    splats = random_splats(20)
    single = rasterize(splats, camera(), EVERYTHING, backend="reference")
    double = rasterize(leaves(splats, torch.float64), camera(), EVERYTHING, backend="reference")
    safe = safe_pixels(splats, camera())
    assert single.alpha.dtype == torch.float32
    assert torch.allclose(single.rgb[safe].double(), double.rgb[safe].detach(), atol=1e-5)


def test_chunks_of_pixels_do_not_show(monkeypatch):
    whole = rasterize(random_splats(20), camera(), {Channel.RGB}, backend="reference")
    monkeypatch.setattr("fmgs_core.raster.reference._CHUNK", 1000)
    assert torch.allclose(whole.rgb, rasterize(random_splats(20), camera(), {Channel.RGB}, backend="reference").rgb, atol=1e-6)
