"""Axes of a model's maps, found out against the body. Kinds: property over all sign patterns, behaviour in numbers."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.priors.template import template_maps
from fmgs_core.session.conventions import CHECKED_MAPS, SIGNS, Conventions
from fmgs_core.types import PriorMaps

from .scene import BODY, person

SIDE = 160
PATTERNS = [tuple(int(s) for s in signs) for signs in SIGNS]


def body_maps(index: int) -> PriorMaps:
    shot = person(index, SIDE)
    assert shot.state is not None
    return template_maps(BODY, shot.state, shot.camera)


def clothed(body: PriorMaps, seed: int, sigma: float = 0.25) -> PriorMaps:
    """The body's normals bent by folds of a few pixels (about 20 degrees), its depth in another unit with noise."""
    rng = np.random.default_rng(seed)
    assert body.normal is not None and body.depth is not None
    folds = np.kron(rng.normal(0, sigma, (SIDE // 4, SIDE // 4, 3)), np.ones((4, 4, 1)))
    normal = body.normal + folds * (body.normal[..., 2:] < 0)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0).astype(np.float32)
    return PriorMaps(normal=normal, depth=(7 + 3 * body.depth + rng.normal(0, 0.05, body.depth.shape)).astype(np.float32))


def compared(change, count: int = CHECKED_MAPS) -> Conventions:
    conventions = Conventions()
    for i in range(count):
        conventions.compare(change(clothed(body_maps(i), i)), body_maps(i))
    return conventions


@pytest.mark.parametrize("signs", PATTERNS)
def test_every_sign_pattern_is_found_and_undone(signs: tuple[int, int, int]):
    """By one map already."""

    def flip(maps: PriorMaps) -> PriorMaps:
        return replace(maps, normal=maps.normal * np.array(signs, np.float32))

    check = compared(flip, count=1).check
    assert check.signs == signs and check.normal_deg is not None and check.as_given_deg is not None
    assert check.normal_deg < 20  # measured 17.3: the folds
    assert check.as_given_deg >= check.normal_deg + 5 * (signs != (1, 1, 1))  # measured 6.5 (x alone) and more
    right = clothed(body_maps(0), 0)
    np.testing.assert_array_equal(check.applied(flip(right)).normal, right.normal)
    assert bool(check.doubts()) == (signs != (1, 1, 1))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_order_of_depth_is_found_and_turned(sign: int):
    check = compared(lambda maps: replace(maps, depth=sign * maps.depth)).check
    assert (
        check.depth_correlation is not None and sign * check.depth_correlation > 0.7
    )  # measured 0.80: a T-pose is hardly deep
    assert check.depth_is_reversed == (sign < 0)
    depth = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(check.applied(PriorMaps(depth=depth)).depth, sign * depth)


def test_noise_changes_nothing_and_is_doubted():
    rng = np.random.default_rng(0)

    def noise(maps: PriorMaps) -> PriorMaps:
        normal = rng.normal(size=(SIDE, SIDE, 3))
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        return PriorMaps(normal=normal.astype(np.float32), depth=rng.random((SIDE, SIDE)).astype(np.float32))

    check = compared(noise).check
    assert check.signs == (1, 1, 1) and not check.depth_is_reversed
    assert check.normal_deg == pytest.approx(90, abs=3)
    assert [d.split()[0] for d in check.doubts()] == ["normals", "depths"]


def test_right_maps_are_left_alone_without_a_word():
    check = compared(lambda maps: maps).check
    maps = clothed(body_maps(0), 0)
    assert check.applied(maps).normal is maps.normal and check.applied(maps).depth is maps.depth
    assert check.doubts() == [] and check.maps == CHECKED_MAPS


def test_maps_that_are_absent_or_unknown_say_nothing():
    conventions = Conventions()
    conventions.compare(PriorMaps(), body_maps(0))
    conventions.compare(replace(clothed(body_maps(0), 0), normal=np.zeros((SIDE, SIDE, 3), np.float32)), body_maps(0))
    assert conventions.check.normal_deg is None and conventions.check.signs == (1, 1, 1)
    assert conventions.check.maps == 2 and conventions.check.depth_correlation is not None
