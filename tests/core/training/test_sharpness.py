"""Trust in blurred keyframes. Kinds: closed form, property, behaviour."""

import cv2
import numpy as np
import pytest

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.sharpness import LIKE_M, LIKES, blur_trust, sharpness
from fmgs_core.training.trainer import Trainer, TrainerConfig

from .scene import camera, observation, state

PICTURE = np.random.default_rng(0).integers(60, 200, (80, 80, 3), dtype=np.uint8)
MASK = np.ones((80, 80), np.float32)


def test_a_blur_along_one_direction_is_seen_whatever_the_direction():
    sharp = sharpness(PICTURE, MASK)
    for line in (np.eye(9), np.eye(9)[::-1], np.ones((1, 9)), np.ones((9, 1))):
        kernel = np.ascontiguousarray(line / line.sum()).astype(np.float32)
        assert sharpness(cv2.filter2D(PICTURE, -1, kernel), MASK) < 0.6 * sharp


def test_sharpness_is_that_of_a_ramp_and_none_of_its_exposure():
    """A plane's structure tensor has the eigenvalue 0; two crossed waves of amplitude a and wavelength w give about
    a 2 pi / w / sqrt(2) in both directions."""
    y, x = np.mgrid[:80, :80].astype(np.float32)
    ramp = np.repeat((60 + x)[..., None], 3, -1).astype(np.uint8)
    assert sharpness(ramp, MASK) < 1e-6
    waves = np.repeat((120 + 20 * (np.sin(x / 4) + np.sin(y / 4)))[..., None], 3, -1)
    found = [sharpness(np.rint(gain * waves).astype(np.uint8), MASK) for gain in (0.6, 1.0, 1.3)]
    # slope 20 / 4 / sqrt(2) of 121; the kernel sees 0.97 of it, and rounding adds a little
    np.testing.assert_allclose(found, 20 / 4 / np.sqrt(2) / 121, rtol=0.06)


def test_the_outline_is_not_the_persons_sharpness():
    flat, mask = np.full((80, 80, 3), 30, np.uint8), np.zeros((80, 80), np.float32)
    mask[20:60, 20:60] = 1
    flat[20:60, 20:60] = 180
    assert sharpness(flat, mask) == 0.0
    assert sharpness(flat, np.zeros((80, 80), np.float32)) == 0.0


def test_trust_falls_for_the_blurred_among_their_likes_only():
    """Two groups far apart, a plain one and a textured one; in each one of four is blurred to 0.4."""
    n = 24
    place = np.repeat([0.0, 1.0], n // 2) + 0.01 * np.arange(n)
    sharpnesses = np.repeat([1.0, 0.3], n // 2)
    blurred = np.arange(n) % 4 == 0
    trust = blur_trust(np.where(blurred, 0.4, 1.0) * sharpnesses, np.abs(place[:, None] - place), 0.1)
    np.testing.assert_allclose(trust, np.where(blurred, 0.1, 1.0))


def test_where_all_are_alike_or_few_all_are_trusted():
    n = 3 * LIKES
    distances = 0.01 * np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    np.testing.assert_array_equal(blur_trust(np.full(n, 0.2), distances, 0.1), 1)
    np.testing.assert_array_equal(blur_trust(np.zeros(n), distances, 0.1), np.full(n, 0.1))
    unlike = blur_trust(np.where(np.arange(n) % 2, 1.0, 0.2), 10 * distances, 0.1)
    np.testing.assert_array_equal(unlike, 1)  # three views within the limit, itself included
    np.testing.assert_array_equal(blur_trust(np.arange(1.0, LIKES + 1), distances[:LIKES, :LIKES], 0.1), 1)


@pytest.mark.parametrize("least", [0.1, 1.0])
def test_a_blurred_keyframe_is_visited_less(least: float):
    memory = MemoryConfig(held_out=0, least_trust=least, min_novelty_m=0.0)
    trainer = Trainer(Avatar(default_body()), TrainerConfig(memory=memory, newest_share=0.0))
    for i in range(10):
        of = state(0.03 * i)
        frame, maps = observation(i, of, camera(), geometry=False)
        trainer.add(frame, maps, of)
    trainer.memory[4].sharpness *= 0.3
    trainer.memory._judge()
    assert [k.trust for k in trainer.memory] == [pytest.approx(least if i == 4 else 1.0) for i in range(10)]
    picked = [trainer._pick(auxiliary=False) is trainer.memory[4] for _ in range(2000)]
    expected = least / (9 + least)
    assert np.mean(picked) == pytest.approx(expected, abs=4 * np.sqrt(expected / 2000))


def test_trust_is_that_of_numpys_quantile_over_any_number_of_likes():
    """Against a twin that takes the likes one keyframe at a time."""
    rng = np.random.default_rng(3)
    places, sharp = rng.uniform(0, 0.4, 40), rng.uniform(0.2, 1, 40)
    distances = np.abs(places[:, None] - places)

    def twin(i: int) -> float:
        nearest = np.argsort(np.where(np.arange(40) == i, -1, distances[i]))[:LIKES]
        likes = [sharp[k] for k in nearest if distances[i, k] <= LIKE_M]
        relative = sharp[i] / np.quantile(likes, 0.75)
        return 0.1 + 0.9 * float(np.clip((relative - 0.55) / 0.25, 0, 1)) if len(likes) >= 4 else 1.0

    expected = [twin(i) for i in range(40)]
    assert len(set(expected)) > 5
    np.testing.assert_allclose(blur_trust(sharp, distances, 0.1), expected)


def test_no_share_below_zero_is_accepted():
    with pytest.raises(ValueError, match=r"MemoryConfig\.least_trust: expected more than 0 up to 1, got 0\.0"):
        MemoryConfig(least_trust=0.0)
