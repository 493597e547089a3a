"""Landmarks that come after their frame was fitted. Kinds: behaviour on noisy people, properties of the terms, refusals."""

import numpy as np
import pytest

from fmgs_core.body.skinning import posed_joints
from fmgs_core.tracking import BodyTracker, SecondLook, SmoothingConfig, TrackerConfig
from fmgs_core.tracking.detection import detection_of
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.late_landmarks import with_landmarks
from fmgs_core.types import BodyState, Keypoints

from .synthetic import BODY, CAMERA, NUM_BETAS, TABLES, flipped, frame_at, keypoints_of, maps_of, state_of

CONFIG = TrackerConfig(subject_height_m=1.84, use_silhouette=False)
STATES = [state_of(0.15 * i, arms=0.5) for i in range(16)]


def tracked() -> list[FrameEvidence]:
    """By a detector that is 5 px off."""
    tracker = BodyTracker(BODY, CONFIG)
    noisy = (keypoints_of(state, CAMERA, noise_px=5.0, depth_noise_m=0.1, seed=i) for i, state in enumerate(STATES))
    found = [tracker.update(frame_at(i), maps_of(keypoints)).evidence for i, keypoints in enumerate(noisy)]
    return [seen for seen in found if seen is not None]


def better(index: int, layout: str, *, depth: bool = False) -> Keypoints:
    return keypoints_of(STATES[index], CAMERA, noise_px=0.5, depth_noise_m=0.01, seed=100 + index, layout=layout, depth=depth)


def merged(seen: FrameEvidence, keypoints: Keypoints) -> FrameEvidence | None:
    detection = detection_of(keypoints, BODY, NUM_BETAS)
    assert detection is not None
    return with_landmarks(seen, detection, seen.pose)


def error_mm(states: dict[int, BodyState]) -> float:
    """Mean over frames and joints, root-aligned."""
    a, b = (np.stack([posed_joints(BODY, state)[:22] for state in each]) for each in (states.values(), STATES))
    return float(1e3 * np.linalg.norm((a - a[:, :1]) - (b - b[:, :1]), axis=2).mean())


@pytest.mark.parametrize("layout", ["coco17", "sapiens308"])
def test_a_better_detector_that_is_late_makes_the_second_look_better(layout: str):
    """Measured: 20 mm by the noisy landmarks alone, 7 and 8 with the better ones."""
    look = SecondLook(BODY, CONFIG, SmoothingConfig(iterations=5))
    for seen in tracked():
        look.add(seen)
    before = error_mm(look.states())
    assert not look.behind
    for i in range(len(STATES)):
        assert look.attach(frame_at(i).stamp_ns, better(i, layout))
    assert look.behind
    after = error_mm(look.states())
    assert not look.behind
    assert after < 0.6 * before


def test_the_frames_own_depth_is_kept_and_its_pixels_are_not():
    seen = tracked()[3]
    late = merged(seen, better(3, "coco17"))
    assert late is not None
    old, new = seen.problem.landmarks, late.problem.landmarks
    count = len(TABLES["coco17"].names)
    assert (new.weights[:count] == TABLES["coco17"].weights).all() and (new.weights[count:] == 0).all()
    np.testing.assert_array_equal(new.directions, old.directions)
    for a, b in zip(new.bones, old.bones, strict=True):
        np.testing.assert_array_equal(new.points.rest[a], old.points.rest[b])
    again = merged(late, better(3, "sapiens308"))
    assert again is not None
    np.testing.assert_array_equal(again.problem.landmarks.directions, old.directions)
    assert len(again.problem.landmarks.targets) - len(TABLES["sapiens308"].names) == len(new.targets) - count


def test_landmarks_with_a_depth_of_their_own_leave_nothing_of_the_old():
    late = merged(tracked()[3], better(3, "coco17", depth=True))
    assert late is not None
    assert len(late.problem.landmarks.targets) == 17
    assert len(late.problem.landmarks.directions) == len(TABLES["coco17"].bones)


def test_others_than_the_person_who_was_followed_are_refused():
    look, seen = SecondLook(BODY, CONFIG, SmoothingConfig()), tracked()[0]
    look.add(seen)
    look.states()
    elsewhere = keypoints_of(state_of(0.0, transl=(0.8, 0.0, 0.0)), CAMERA, layout="coco17", depth=False)
    nobody = Keypoints("coco17", np.full((17, 3), np.nan))
    for keypoints in (elsewhere, flipped(better(0, "coco17")), nobody):
        assert not look.attach(seen.stamp_ns, keypoints)
    assert not look.attach(seen.stamp_ns + 1, better(0, "coco17"))
    assert look.attach(seen.stamp_ns, better(0, "coco17"))
    with pytest.raises(ValueError, match=r"expected one of .*got 'halpe26'"):
        look.attach(seen.stamp_ns, Keypoints("halpe26", np.zeros((26, 3))))
