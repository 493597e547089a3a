"""Whose maps and landmarks win. Kind: behaviour."""

import numpy as np
import pytest

from fmgs_core.priors.filled import FilledPrior
from fmgs_core.types import Camera, Frame, Keypoints, PriorMaps

CAMERA = Camera(np.eye(3), 4, 4, np.eye(4))
FRAME = Frame(0, np.zeros((4, 4, 3), np.uint8), CAMERA)
BETTER = Keypoints("coco17", np.random.default_rng(0).uniform(0, 99, (17, 3)))
FOUND = Keypoints("mediapipe33", np.full((33, 3), 1e3), np.ones((33, 3)))


class Fixed:
    def __init__(self, maps: PriorMaps):
        self.maps, self.closed = maps, False

    def predict(self, frame: Frame) -> PriorMaps:
        return self.maps

    def close(self) -> None:
        self.closed = True


def joined(detected: Keypoints | None, recorded: Keypoints | None) -> Keypoints | None:
    detector = Fixed(PriorMaps(keypoints=detected, face_score=0.5))
    return FilledPrior(detector, Fixed(PriorMaps(keypoints=recorded))).predict(FRAME).keypoints


@pytest.mark.parametrize(
    ("detected", "recorded", "expected"), [(FOUND, None, FOUND), (None, BETTER, BETTER), (None, None, None)]
)
def test_who_finds_landmarks_alone_gives_them(detected, recorded, expected):
    assert joined(detected, recorded) is expected


def test_recorded_landmarks_get_the_detectors_depth_where_both_see_the_same():
    near = Keypoints("mediapipe33", FOUND.points.copy(), FOUND.points_3d)
    near.points[23] = BETTER.points[11]  # the left hip
    keypoints = joined(near, BETTER)
    assert keypoints is not None and keypoints.layout == "coco17" and keypoints.points is BETTER.points
    assert keypoints.points_3d is not None
    assert np.isfinite(keypoints.points_3d).all(1).tolist() == [i == 11 for i in range(17)]


def test_recorded_maps_go_before_the_detectors_and_are_missed_by_none():
    ones, zeros = np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32)
    detector = Fixed(PriorMaps(mask=ones, keypoints=FOUND, face_score=0.5))
    recorded = Fixed(PriorMaps(mask=zeros, depth=ones, geometry_trust=0.25))
    prior = FilledPrior(detector, recorded)
    maps = prior.predict(FRAME)
    assert maps.mask is zeros and maps.depth is ones and maps.geometry_trust == 0.25
    assert maps.keypoints is FOUND and maps.face_score == 0.5
    recorded.maps = PriorMaps()
    assert prior.predict(FRAME).mask is ones


def test_both_are_closed():
    detector, recorded = Fixed(PriorMaps()), Fixed(PriorMaps())
    FilledPrior(detector, recorded).close()
    assert detector.closed and recorded.closed
