"""Maps as wrong as a foundation model's. Kinds: properties in numbers, determinism, behaviour on bad input."""

from pathlib import Path

import numpy as np
import pytest

from fmgs_core.mapfiles import read_maps
from fmgs_core.types import PriorMaps


@pytest.fixture
def config(degrade_maps):
    return degrade_maps.DegradationConfig()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture
def ball() -> PriorMaps:
    """A ball of 0.5 m, 300 px wide, seen from 3 m."""
    y, x = (np.mgrid[:400, :400] - 199.5) / 150
    inside = x**2 + y**2 < 0.98
    z = np.sqrt(np.where(inside, 1 - x**2 - y**2, 1))
    normal = np.where(inside[..., None], np.stack([x, y, -z], -1), 0).astype(np.float32)
    return PriorMaps(
        mask=inside.astype(np.float32),
        normal=normal,
        depth=np.where(inside, 3 - 0.25 * z, np.nan).astype(np.float32),
        labels=np.where(inside, 22, 0).astype(np.uint8),
        label_set="sapiens28",
    )


def edges(picture: np.ndarray, row: int) -> np.ndarray:
    """Columns at which the values of a row cross one half, to a fraction of a pixel."""
    values = picture[row].astype(float) - 0.4999  # a value of exactly one half crosses too
    at = np.flatnonzero(values[:-1] * values[1:] < 0)
    return at + values[at] / (values[at] - values[at + 1])


def boundary_shifts(displaced: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Shift of the nearest boundary of each row to each boundary before, (rows, boundaries)."""
    wanted = edges(before, 0)
    rows = []
    for row in range(20, len(displaced) - 20):
        found = edges(displaced, row)
        rows.append(found[np.abs(found[None] - wanted[:, None]).argmin(1)] - wanted)
    return np.array(rows)


def test_noise_is_smooth_as_asked(degrade_maps, rng):
    noise = degrade_maps.smooth_noise((1500, 1500), 1, 20.0, rng)[..., 0]
    # About 5,600 independent blobs: the variance is known to 2 %.
    assert abs(noise.var() - 1) < 0.08
    assert abs((noise[:, 20:] * noise[:, :-20]).mean() / noise.var() - np.exp(-1)) < 0.05


def test_normals_are_off_by_13_degrees(degrade_maps, ball, config, rng):
    turned = degrade_maps.degraded(ball, config, rng).normal
    known = ball.normal.any(-1)
    np.testing.assert_array_equal(turned.any(-1), known)
    np.testing.assert_allclose(np.linalg.norm(turned[known], axis=-1), 1, atol=1e-5)
    assert (turned[known][:, 2] < 0).all()
    angle = np.degrees(np.arccos((turned[known] * ball.normal[known]).sum(-1).clip(-1, 1)))
    assert abs(angle.mean() - 13) < 0.5
    assert angle.std() > 4, "not the same angle everywhere"
    mean = (turned[known] - ball.normal[known]).mean(0)
    assert np.linalg.norm(mean) < 0.1, "and not in one direction"


def test_depth_keeps_its_order_and_nothing_else(degrade_maps, ball, config, rng):
    depth = degrade_maps.degraded(ball, config, rng).depth
    np.testing.assert_array_equal(np.isfinite(depth), np.isfinite(ball.depth))
    known = np.flatnonzero(np.isfinite(ball.depth))
    i, j = rng.choice(known, (2, 20_000))
    before, after = ball.depth.ravel()[i] - ball.depth.ravel()[j], depth.ravel()[i] - depth.ravel()[j]
    kept = np.sign(before) == np.sign(after)
    assert kept[np.abs(before) > 0.05].mean() > 0.98
    # Pairs within the error of 3 % of the range are left to chance.
    assert 0.4 < kept[np.abs(before) < 0.002].mean() < 0.75
    scale, offset = np.polyfit(ball.depth.ravel()[known], depth.ravel()[known], 1)
    assert abs(scale - 1) > 0.05 or abs(offset) > 0.05, "neither scale nor offset is that of the truth"


@pytest.mark.parametrize(("kind", "wanted"), [("labels", 3.0), ("mask", 1.0)])
def test_boundaries_move_as_far_as_asked(degrade_maps, config, rng, kind, wanted):
    stripes = np.repeat(np.arange(16) % 2, 60)[None].repeat(1500, 0)
    values = stripes.astype(np.uint8 if kind == "labels" else np.float32)
    shifts = boundary_shifts(getattr(degrade_maps, f"displaced_{kind}")(values, config, rng), values)
    # 15 boundaries of 75 correlation lengths: the mean is known to 3 %, and labels to half a pixel.
    assert abs(np.abs(shifts).mean() - wanted) < 0.12 * wanted
    assert np.quantile(np.abs(np.diff(shifts, axis=0)), 0.95) <= 1, "boundaries wander, they do not jump"


def test_without_errors_nothing_changes(degrade_maps, ball, rng):
    none = degrade_maps.DegradationConfig(normal_deg=0, depth_share=0, label_px=0, mask_px=0)
    same = degrade_maps.degraded(ball, none, rng)
    np.testing.assert_array_equal(same.labels, ball.labels)
    np.testing.assert_allclose(same.mask, ball.mask, atol=1e-6)
    np.testing.assert_allclose(same.normal, ball.normal, atol=2e-3)  # edge-on ones are turned to face the camera
    known = np.isfinite(ball.depth)
    order = np.argsort(ball.depth[known], kind="stable")
    assert (np.diff(same.depth[known][order]) >= -1e-5).all()


def test_a_sequence_is_copied_with_wrong_maps_and_true_tests(degrade_maps, tiny: Path, tmp_path: Path, config):
    errors = degrade_maps.degrade_sequence(tiny, tmp_path / "a", config)
    # Twenty degrees of freedom less on a person of 20 px; stored normals are rounded to half a degree.
    assert abs(errors.normal_deg - 13) < 0.5 and errors.order_kept > 0.9
    assert 0.5 < errors.mask_iou < 1 and 0.2 < errors.labels_right < 0.95
    degrade_maps.degrade_sequence(tiny, tmp_path / "b", config)
    for file in (p.relative_to(tiny) for p in tiny.rglob("*") if p.is_file()):
        once, again = (tmp_path / "a" / file).read_bytes(), (tmp_path / "b" / file).read_bytes()
        assert once == again
        is_map = file.parts[0] == "train" and file.parts[1] in ("mask", "depth", "normal", "label")
        assert (once != (tiny / file).read_bytes()) == is_map, file
    assert read_maps(tmp_path / "a" / "train", 1).normal is None, "frames without geometry stay without"


def test_it_writes_over_nothing(degrade_maps, tiny: Path, tmp_path: Path, config):
    with pytest.raises(ValueError, match="out: expected a folder that does not exist yet"):
        degrade_maps.degrade_sequence(tiny, tmp_path, config)


def test_bad_sizes_are_refused(degrade_maps):
    with pytest.raises(ValueError, match=r"DegradationConfig\.label_px: expected zero or more, got -1"):
        degrade_maps.DegradationConfig(label_px=-1)
    with pytest.raises(ValueError, match=r"DegradationConfig\.correlation_px: expected at least 1, got nan"):
        degrade_maps.DegradationConfig(correlation_px=float("nan"))
