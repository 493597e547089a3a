"""Disturbances of a ground-truth stream. Kinds: closed form, property, determinism, refusal."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.evaluation import disturbances as D
from fmgs_core.geometry import look_at
from fmgs_core.stream.sequence import SequenceSplit
from fmgs_core.stream.source import SourceConfig
from fmgs_core.types import Camera, Frame, PriorMaps

COUNT, SIZE = 24, 96
CAMERA = Camera(np.array([[130.0, 0, 48], [0, 130, 48], [0, 0, 1]]), SIZE, SIZE, look_at(np.array([0, 0, 2.8]), np.zeros(3)))
ROOM = np.full((SIZE, SIZE, 3), (90, 120, 150), np.uint8)
MASK = np.zeros((SIZE, SIZE), np.float32)
MASK[16:80, 36:60] = 1
PICTURE = np.where(MASK[..., None] > 0, np.uint8(200), ROOM)


class Turning(SequenceSplit):
    """A person who turns once, as an upright block before an even room."""

    def frame(self, index: int) -> Frame:
        return Frame(int(self.stamps_ns[index]), PICTURE.copy(), CAMERA)

    def mask(self, index: int) -> np.ndarray:
        return MASK.copy()

    def background(self) -> np.ndarray:
        return ROOM


def split() -> SequenceSplit:
    neutral = default_body().neutral_state()
    states = [replace(neutral, pose=neutral.pose.copy()) for _ in range(COUNT)]
    for i, state in enumerate(states):
        state.pose[0] = 0, 2 * np.pi * i / COUNT + 0.01, 0
    stamps = 1000 * (1 + np.arange(COUNT, dtype=np.int64))
    return Turning("train", Path(), stamps, tuple(states), (CAMERA,) * COUNT, None, None)


def disturbed(kind: str, seed: int = 0) -> D.Disturbed:
    return D.Disturbed(split(), default_body(), D.DisturbanceConfig(kind, seed))


def maps() -> PriorMaps:
    ones = np.ones((SIZE, SIZE), np.float32)
    normal = np.zeros((SIZE, SIZE, 3), np.float32) - (0, 0, 1)
    return PriorMaps(mask=MASK.copy(), depth=ones, normal=normal.astype(np.float32), labels=ones.astype(np.uint8))


def shown(stream: D.Disturbed, index: int) -> tuple[np.ndarray, np.ndarray]:
    frame = stream.frame(index)
    mask = stream.maps(frame, maps()).mask
    assert mask is not None
    return frame.rgb, mask


@pytest.mark.parametrize("kind", D.DISTURBANCES)
def test_a_seed_gives_the_same_stream_and_another_another(kind: str):
    a, b, other = disturbed(kind), disturbed(kind), disturbed(kind, 1)
    for i in a.indices:
        for x, y in zip(shown(a, i), shown(b, i), strict=True):
            np.testing.assert_array_equal(x, y)
    chance = kind not in ("none", "exposure", "half-turn")
    assert (a.hit != other.hit) == chance


@pytest.mark.parametrize(
    ("kind", "count"), [("none", 0), ("blur", 8), ("occlusion", 8), ("masked-occlusion", 8), ("masks", 6), ("half-turn", 0)]
)
def test_only_the_frames_that_are_hit_change(kind: str, count: int):
    stream = disturbed(kind)
    assert len(stream.hit) == count
    for i in stream.indices:
        picture, mask = shown(stream, i)
        changed = not (np.array_equal(picture, PICTURE) and np.array_equal(mask, MASK))
        assert changed == (i in stream.hit)
        assert np.array_equal(picture, PICTURE) or kind != "masks"
        assert np.array_equal(mask, MASK) or kind != "blur"


def test_gains_have_a_geometric_mean_of_one_and_drift_and_step():
    gains = D.exposure_gains(90)
    np.testing.assert_allclose(np.log(gains).mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(gains[59, 1] / gains[0, 1], (1.4 / 0.6) ** (59 / 89))
    assert gains[60, 1] / gains[59, 1] == pytest.approx(0.75 * (1.4 / 0.6) ** (1 / 89))
    assert np.abs(np.log(gains[:, 0] / gains[:, 1])).max() == pytest.approx(0.05, rel=0.01)


def test_exposure_multiplies_and_clips():
    np.testing.assert_array_equal(D.exposed(np.full((1, 1, 3), 100, np.uint8), np.array([0.5, 1, 3])), [[[50, 100, 255]]])


def test_a_blurred_person_leaves_the_room_as_it_was_and_keeps_its_light():
    """Where nothing of the person passes, not a bit changes; along the motion the outline becomes a ramp of its length."""
    blurred = D.motion_blurred(PICTURE, MASK, ROOM, 11, 0.0)
    far = cv2.dilate(MASK, np.ones((1, 13))) == 0
    np.testing.assert_array_equal(blurred[far], PICTURE[far])
    row = blurred[48, :, 0].astype(float)
    ramp = np.flatnonzero((row > 91) & (row < 199))
    assert 18 <= len(ramp) <= 22 and np.ptp(ramp[: len(ramp) // 2]) <= 11  # a shutter of 11 px on both sides
    assert np.abs(blurred.astype(float).sum() / PICTURE.sum() - 1) < 1e-3


def test_an_occluder_covers_part_of_the_person_and_nothing_is_known_of_what_it_hides():
    for kind, said in (("occlusion", 0.0), ("masked-occlusion", 1.0)):
        stream = disturbed(kind)
        for i in stream.hit:
            frame = stream.frame(i)
            covered = (frame.rgb != PICTURE).any(-1)
            assert 0.03 < (covered & (MASK > 0)).sum() / MASK.sum() < 0.7
            known = stream.maps(frame, maps())
            assert known.mask is not None and known.depth is not None and known.normal is not None and known.labels is not None
            assert (known.mask[covered] == said).all() and np.isnan(known.depth[covered]).all()
            assert (known.normal[covered] == 0).all() and (known.labels[covered] == 255).all()
            rest = cv2.dilate(covered.astype(np.uint8), np.ones((3, 3))) == 0
            np.testing.assert_array_equal(known.mask[rest], MASK[rest])


def test_masks_are_wrong_in_four_ways():
    """Cut, added to, grown, shrunk: told apart by what was taken and what was given."""
    stream, ways = disturbed("masks"), set()
    for seed in range(6):
        stream = disturbed("masks", seed)
        for i in stream.hit:
            _, mask = shown(stream, i)
            taken, given = ((MASK > mask).sum() / MASK.sum(), (mask > MASK).sum() / MASK.sum())
            assert (taken == 0) != (given == 0) and 0.005 < taken + given < 0.8
            ways.add((taken > 0, taken + given > 0.4))
    assert len(ways) >= 3


def test_half_a_turn_shows_the_front_only():
    stream = disturbed("half-turn")
    assert stream.indices == [*range(6), *range(18, COUNT)]  # of 24 over a full turn
    with stream.source(SourceConfig(), "train", 15.0) as source:
        stamps = [frame.stamp_ns for frame in iter(source.read, None)]
    assert stamps == [1000 * (i + 1) for i in stream.indices]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"DisturbanceConfig\.kind: expected one of .*, got 'rain'"):
        D.DisturbanceConfig("rain")


def test_a_prior_that_finds_nobody_stays_silent():
    stream = disturbed("occlusion")
    assert stream.maps(stream.frame(min(stream.hit)), PriorMaps()).mask is None
