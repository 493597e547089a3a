"""Poison: values at and over every edge. Either the picture is as if the splat were absent, or the error says what is wrong.

NaN may come out only where it is documented: as the depth of pixels that see nothing.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmgs_core.raster import drawing, rasterize
from fmgs_core.types import Camera, Channel, Rendering, Splats
from tests.core.raster.scenes import (
    CPU_BACKENDS,
    EVERYTHING,
    FIELDS,
    IMAGES,
    camera,
    draw,
    gradients,
    leaves,
    random_gradients,
    random_splats,
    with_rows,
)

NAN, INF = float("nan"), float("inf")
DROPPED = {
    "nan mean": {"means": [NAN, 0, 0]},
    "infinite mean": {"means": [0, INF, 0]},
    "far mean": {"means": [0, 3e38, 0]},
    "behind the camera": {"means": [0.6, 0.8, 4.0]},
    "at the camera": {"means": [0.3, 0.4, 2.0]},
    "nan quaternion": {"quats": [1, NAN, 0, 0]},
    "no quaternion": {"quats": [0, 0, 0, 0]},
    "denormal quaternion": {"quats": [1e-40, 0, 0, 0]},
    "huge quaternion": {"quats": [3e38, 3e38, 0, 0]},
    "nan scale": {"scales": [NAN, 0.1]},
    "infinite scale": {"scales": [0.1, INF]},
    "zero scale": {"scales": [0, 0.1]},
    "denormal scale": {"scales": [1e-40, 1e-40]},
    "negative scale": {"scales": [0.1, -0.1]},
    "nan opacity": {"opacities": NAN},
    "opacity 0": {"opacities": 0.0},
    "negative opacity": {"opacities": -1.0},
    "nan colour": {"colors": [NAN, 0, 0]},
    "infinite colour": {"colors": [0, -INF, 0]},
    "nan logit": {"logits": [0, 0, NAN, 0, 0]},
}
DRAWN = {
    "opacity 1": {"opacities": 1.0},
    "opacity 2": {"opacities": 2.0},
    "huge": {"scales": [1e5, 1e5]},
    "needle": {"scales": [1e-7, 1e5]},
    "point": {"scales": [1e-7, 1e-7]},
    "edge-on": {"means": [0, 0, 0], "quats": [1, 0, 0, 0], "scales": [0.2, 0.2]},
    "far": {"means": [-1.5e5, -2e5, -8e5], "scales": [1e5, 1e5]},
    "just in front of the near plane": {"means": [0.3, 0.4, 1.94]},
    "on a tile's edge": {"means": [0, 0, 0], "scales": [1e-3, 1e-3]},
    "large colour": {"colors": [1e5, -1e5, 0]},
}
EDGE_ON_CAMERA = camera(eye=(2.0, 0.0, 0.0))  # looks along the plane z = 0


def poisoned(changes: dict[str, object], row: int = 3) -> Splats:
    return with_rows(random_splats(12, seed=1), **{name: (row, value) for name, value in changes.items()})


def assert_clean(drawn: Rendering, splats: Splats) -> None:
    for name in IMAGES:
        image = getattr(drawn, name)
        bad = ~image.isfinite()
        allowed = (drawn.alpha < 1 / 255) if name == "depth" else torch.zeros_like(bad)
        assert torch.equal(bad, allowed.expand_as(bad)), name
    # Over all pixels, those without depth and normal included.
    grads = random_gradients(drawn, torch.ones_like(drawn.alpha))
    for name, gradient in gradients(drawn, splats, grads).items():
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("changes", DROPPED.values(), ids=DROPPED.keys())
def test_unusable_splats_are_as_if_absent(changes, backend):
    splats = leaves(poisoned(changes))
    drawn = rasterize(splats, camera(), EVERYTHING, backend=backend)
    kept = [i for i in range(12) if i != 3]
    without = rasterize(Splats(**{n: getattr(splats, n).detach()[kept] for n in FIELDS}), camera(), EVERYTHING, backend=backend)
    for name in IMAGES:
        assert torch.equal(getattr(drawn, name).nan_to_num(), getattr(without, name).nan_to_num()), name
    if backend == "cpu":
        assert_clean(drawn, splats)
    grads = random_gradients(drawn, drawn.alpha > 1 / 255)
    assert all((g[3] == 0).all() for g in gradients(draw(splats, camera()), splats, grads).values())


@pytest.mark.parametrize("view", [camera(), EDGE_ON_CAMERA], ids=["oblique", "in plane"])
@pytest.mark.parametrize("changes", DRAWN.values(), ids=DRAWN.keys())
def test_odd_splats_are_drawn_cleanly(changes, view):
    splats = leaves(poisoned(changes))
    drawn = draw(splats, view)
    assert drawn.alpha.min() >= 0 and drawn.alpha.max() <= 1
    assert_clean(drawn, splats)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_opacity_above_one_counts_as_one_without_gradient(backend):
    splats, full = leaves(poisoned({"opacities": 2.0})), leaves(poisoned({"opacities": 1.0}))
    drawn = rasterize(splats, camera(), backend=backend)
    assert torch.equal(drawn.alpha, rasterize(full, camera(), backend=backend).alpha)
    found = gradients(drawn, splats, {"alpha": torch.ones_like(drawn.alpha)})
    assert found["opacities"][3] == 0 and (found["means"][3] != 0).any()


def test_edge_on_splat_is_a_dot_of_the_low_pass():
    splats = poisoned(DRAWN["edge-on"])
    alone = Splats(**{n: getattr(splats, n)[3:4] for n in FIELDS})
    for backend in CPU_BACKENDS:
        drawn = rasterize(alone, EDGE_ON_CAMERA, EVERYTHING, backend=backend)
        seen = drawn.alpha > 0
        assert 5 <= seen.sum() <= 25  # a disk of 2.4 px radius at most
        assert torch.allclose(drawn.depth[seen], torch.tensor(2.0), atol=1e-5)


@pytest.mark.parametrize("value", [NAN, INF])
def test_gradient_that_arrives_where_nothing_is_seen_is_ignored(value):
    splats = leaves(random_splats(5))
    drawn = draw(splats, camera())
    unseen = drawn.alpha < 1 / 255
    assert unseen.any()
    grads = {"depth": torch.where(unseen, value, 1.0), "normal": torch.where(unseen[..., None], value, 1.0).expand(-1, -1, 3)}
    assert all(g.isfinite().all() for g in gradients(drawn, splats, grads).values())


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_no_splats_at_all(backend):
    splats = leaves(random_splats(0))
    drawn = rasterize(splats, camera(), EVERYTHING, backend=backend)
    assert drawn.alpha.max() == 0 and drawn.depth.isnan().all() and drawn.logits.shape == (37, 43, 5)
    assert gradients(drawn, splats, {"rgb": torch.ones(37, 43, 3)})["means"].shape == (0, 3)


def test_nothing_depends_on_what_fresh_memory_holds(monkeypatch):
    """Buffers that are allocated unset are filled with NaN: a value read before it is written would come out."""
    empties = {"numpy": np.empty, "torch": torch.empty}

    def pictures_and_gradients() -> list[torch.Tensor]:
        splats = leaves(random_splats(60, seed=9))
        drawn = draw(splats, camera(50, 21))
        grads = random_gradients(drawn, torch.ones_like(drawn.alpha))
        only = torch.autograd.grad(drawn.logits, splats.logits, grads["logits"], retain_graph=True)
        return [*(getattr(drawn, n).detach() for n in IMAGES), *gradients(drawn, splats, grads).values(), *only]

    clean = pictures_and_gradients()
    for buffer in drawing._memory.buffers.values():  # kept between calls
        buffer.fill(NAN)
    monkeypatch.setattr(np, "empty", lambda *a, **k: _nan_filled(empties["numpy"](*a, **k)))
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empties["torch"](*a, **k).fill_(NAN))
    for before, after in zip(clean, pictures_and_gradients(), strict=True):
        assert torch.equal(before.nan_to_num(nan=-7.0), after.nan_to_num(nan=-7.0))


def _nan_filled(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.float32:
        array.fill(NAN)
    return array


floats = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


@settings(max_examples=150, deadline=None)
@given(st.lists(floats, min_size=18, max_size=18), st.integers(1, 40), st.integers(1, 40))
def test_any_floats_whatever(values, width, height):
    v = torch.tensor(values, dtype=torch.float32)
    odd = Splats(v[None, 0:3], v[None, 3:7], v[None, 7:9], v[9:10], v[None, 10:13], v[None, 13:18])
    ordinary = random_splats(3)
    splats = leaves(Splats(**{n: torch.cat([getattr(ordinary, n), getattr(odd, n)]) for n in FIELDS}))
    assert_clean(draw(splats, camera(width, height)), splats)


PLAIN = random_splats(4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": torch.zeros(4, 2)}, r"Splats.means: expected shape \(4, 3\), got \(4, 2\)"),
        ({"means": torch.tensor(0.0)}, r"Splats.means: expected shape \(0, 3\), got \(\)"),
        ({"quats": torch.zeros(3, 4)}, r"Splats.quats: expected shape \(4, 4\), got \(3, 4\)"),
        ({"scales": torch.zeros(4, 3)}, r"Splats.scales: expected shape \(4, 2\), got \(4, 3\)"),
        ({"opacities": torch.zeros(4, 1)}, r"Splats.opacities: expected shape \(4,\), got \(4, 1\)"),
        ({"colors": torch.zeros(4, 3).double()}, r"Splats.colors: expected torch.float32 .* got torch.float64"),
        ({"means": torch.zeros(4, 3, dtype=torch.int64)}, r"Splats.means: expected floating point, got torch.int64"),
        ({"logits": torch.zeros(4)}, r"Splats.logits: expected shape \(4, C\)"),
        ({"logits": None}, r"Splats.logits: expected scores"),
    ],
)
def test_wrong_shapes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        draw(replace(PLAIN, **changes), camera())


def test_other_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="backend: expected one of"):
        rasterize(PLAIN, camera(), backend="metal")
    with pytest.raises(ValueError, match="channels: expected a set of Channel"):
        rasterize(PLAIN, camera(), {"rgb"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend 'cpu' expected float32"):
        draw(leaves(PLAIN, torch.float64), camera())
    projective = Camera(np.array([[50.0, 0, 16], [0, 50, 12], [0, 0.1, 1]]), 32, 24, np.eye(4))
    with pytest.raises(ValueError, match="last row is 0, 0, 1"):
        draw(PLAIN, projective)


def test_logits_that_are_not_asked_for_are_not_looked_at():
    poisoned_logits = replace(PLAIN, logits=torch.full((4, 5), NAN))
    drawn = draw(poisoned_logits, camera(), frozenset({Channel.RGB}))
    assert torch.equal(drawn.rgb, draw(PLAIN, camera(), frozenset({Channel.RGB})).rgb)
