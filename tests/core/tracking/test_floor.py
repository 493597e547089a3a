"""The floor under all frames: closed forms of its points and terms, finite differences, behaviour on somebody who squats."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.body.skinning import posed_vertices
from fmgs_core.keypoints import LAYOUTS
from fmgs_core.tracking import BodyTracker, SmoothingConfig, TrackerConfig
from fmgs_core.tracking.detection import detection_of
from fmgs_core.tracking.floor import (
    MIN_FRAMES,
    UNPOSED_FACTOR,
    add_floor_terms,
    floor_height,
    floor_terms,
    sole_heights,
    sole_points,
    soles_seen,
)
from fmgs_core.tracking.kinematics import BETAS, posed_points
from fmgs_core.tracking.smoothing import smoothed_poses
from fmgs_core.tracking.solver import moved
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED

from .synthetic import BODY, CAMERA, NUM_BETAS, SKELETON, TABLE, camera_pose, frame_at, keypoints_of, maps_of, state_of

SOLES = sole_points(BODY, NUM_BETAS)
SIGMA_M = 0.01
SOLE_ROWS = TABLE.rows("heel", "toe")


def evidence_of(states: list, camera=CAMERA) -> list:
    tracker = BodyTracker(BODY, TrackerConfig(subject_height_m=1.84, use_silhouette=False))
    found = (
        tracker.update(frame_at(i, camera), maps_of(keypoints_of(state, camera, noise_px=1.0, seed=i))).evidence
        for i, state in enumerate(states)
    )
    return [seen for seen in found if seen is not None]


def heights_of(terms, poses) -> tuple[np.ndarray, np.ndarray]:
    heights, rows = np.empty((len(poses), 4)), np.empty((len(poses), 4, BETAS))
    for k, pose in enumerate(poses):
        sole_heights(terms, k, SKELETON, pose, heights[k], rows[k])
    return heights, rows


def test_the_soles_are_the_lowest_of_the_body_and_left_and_right_mirror_each_other():
    """Closed form at rest: the feet are flat to a centimetre, the heels behind the balls."""
    lowest = BODY.v_template[:, 1].min()
    np.testing.assert_allclose(SOLES.rest[:, 1], lowest, atol=0.01)
    np.testing.assert_allclose(SOLES.rest[[0, 2]] * [-1, 1, 1], SOLES.rest[[1, 3]], atol=5e-3)
    assert (SOLES.rest[2:, 2] - SOLES.rest[:2, 2] > 0.1).all()
    assert (SOLES.rest[[0, 2], 0] > 0).all()


def detection_in(layout: str):
    detection = detection_of(keypoints_of(state_of(0.0), CAMERA, layout=layout), BODY, NUM_BETAS)
    assert detection is not None
    return detection


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_landmarks_that_stand_for_the_soles_are_heels_and_toes_or_the_ankles(layout: str):
    detection = detection_in(layout)
    assert (soles_seen(detection, CAMERA) == 1).all()
    names = ["left_ankle", "right_ankle"] * 2 if layout == "coco17" else ["left_heel", "right_heel", "left_toe", "right_toe"]
    for q, name in enumerate(names):
        visibility = detection.visibility.copy()
        visibility[detection.table.row(name)] = 0.3
        assert soles_seen(replace(detection, visibility=visibility), CAMERA)[q] == 0.3


def test_heights_are_those_of_the_body_in_the_world():
    """Parity with skinning in world axes; on straight legs the lowest sole point is the lowest vertex but for 1 mm."""
    states = [state_of(0.7 * i, step=0.0) for i in range(3)]
    evidence = evidence_of(states)
    heights, _ = heights_of(floor_terms(SOLES, evidence, SIGMA_M), [camera_pose(state, CAMERA) for state in states])
    lowest = [posed_vertices(BODY, state)[:, 1].min() for state in states]
    np.testing.assert_allclose(heights.min(1), lowest, atol=2e-3)


def test_derivatives_of_the_heights_by_finite_differences():
    """Central differences in float64, agreement 1e-9."""
    pose = camera_pose(state_of(0.4), CAMERA)
    terms, h = floor_terms(SOLES, evidence_of([state_of(0.4)]), SIGMA_M), 1e-5
    rows = heights_of(terms, [pose])[1][0]
    for n in range(BETAS):
        step = np.zeros(BETAS + NUM_BETAS)
        step[n] = h
        ahead, back = (heights_of(terms, [moved(pose, sign * step)])[0][0] for sign in (1, -1))
        np.testing.assert_allclose(rows[:, n], (ahead - back) / (2 * h), atol=1e-7)


def added(above: list[float], seen=(1.0, 1.0, 1.0, 1.0)) -> tuple[float, np.ndarray]:
    """Cost and the gradient by the four heights."""
    diagonal, gradient = np.zeros((1, 4, 4)), np.zeros((1, 4))
    cost = add_floor_terms(np.array([above]), np.array([seen], float), np.array([SIGMA_M]), np.eye(4)[None], diagonal, gradient)
    return cost, gradient[0] * 2  # the cost's gradient is 2 J' r


def test_cost_below_and_above_the_floor():
    """Closed form: Huber below for each, Cauchy above for the lowest alone, weights as seen."""
    cost, _ = added([-0.005, -0.03, 0.01, 0.2])
    assert cost == pytest.approx(0.5**2 + (2 * 3 - 1))
    cost, gradient = added([0.02, 0.3, 0.3, 0.3], (0.5, 1, 1, 1))
    assert cost == pytest.approx(0.5 * np.log(1 + 2.0**2))
    assert (gradient[1:] == 0).all()


@pytest.mark.parametrize("above", [[-0.005, -0.03, 0.01, 0.2], [0.02, 0.3, 0.3, 0.3]])
def test_gradient_of_the_cost_by_finite_differences(above: list[float]):
    _, gradient = added(above)
    h = 1e-7
    for q in range(4):
        ahead, back = (added([a + sign * h * (i == q) for i, a in enumerate(above)])[0] for sign in (1, -1))
        assert gradient[q] == pytest.approx((ahead - back) / (2 * h), rel=1e-5, abs=1e-5)


def test_the_height_is_where_most_stand_and_unknown_when_too_few_are_seen():
    heights = np.full((10, 4), 0.3)
    heights[:, 2] = -0.9
    heights[:4] += 0.5  # jumps, or a step
    seen = np.ones((10, 4))
    assert floor_height(heights, seen) == pytest.approx(-0.9)
    seen[MIN_FRAMES - 1 :, 1] = 0.1
    assert np.isnan(floor_height(heights, seen))


def test_soles_outside_of_the_picture_say_nothing():
    detection = detection_in("mediapipe33")
    assert soles_seen(detection, CAMERA).min() > 0.9
    cut = replace(CAMERA, height=int(detection.pixels[SOLE_ROWS, 1].min()) - 5)
    assert (soles_seen(detection, cut) == 0).all()


def test_an_unknown_camera_is_believed_less():
    (seen,) = evidence_of([state_of(0.0)])
    unposed = replace(seen, camera=replace(CAMERA, T_camera_world=T_CAMERA_WORLD_UNPOSED))
    terms = floor_terms(SOLES, [seen, unposed], SIGMA_M)
    np.testing.assert_allclose(terms.sigmas, [SIGMA_M, UNPOSED_FACTOR * SIGMA_M])
    np.testing.assert_array_equal(terms.up[1], [0, -1, 0])


def lowest_m(poses, camera=CAMERA) -> np.ndarray:
    world = np.linalg.inv(camera.T_camera_world)
    points = np.stack([posed_points(SOLES, SKELETON, pose) for pose in poses])
    return (points @ world[1, :3] + world[1, 3]).min(1)


def squatting(seen, share: float):
    """The landmarks of somebody who looks smaller, with the feet where they were in the picture."""
    landmarks = seen.problem.landmarks
    feet = landmarks.targets[SOLE_ROWS].mean(0)
    smaller = landmarks._replace(targets=feet + share * (landmarks.targets - feet))
    return replace(seen, problem=seen.problem._replace(landmarks=smaller))


def test_whoever_looks_smaller_is_not_taken_to_be_under_the_floor():
    """At 93 % of the size the picture alone puts the body 0.27 m farther away, its soles 82 mm down; the floor leaves 37 mm."""
    evidence = evidence_of([state_of(0.1 * i) for i in range(20)])
    evidence[14:] = [squatting(seen, 0.93) for seen in evidence[14:]]
    starts, betas = [seen.pose for seen in evidence], evidence[-1].pose.betas
    config = SmoothingConfig(root_sigma_m=1.0, iterations=5)  # there is no look before it to go on from
    free, floored = (lowest_m(smoothed_poses(evidence, starts, betas, config, soles)) for soles in (None, SOLES))
    assert np.median(free[:14]) - free[14:].mean() > 0.05
    assert abs(np.median(floored[:14]) - floored[14:].mean()) < 0.55 * (np.median(free[:14]) - free[14:].mean())


def test_a_jump_stays_a_jump():
    """Half a metre up for a third of the time: the floor takes less than a centimetre of it."""
    states = [state_of(0.1 * i, transl=(0, 0.4 if 6 <= i < 12 else 0.0, 0)) for i in range(20)]
    evidence = evidence_of(states)
    starts, betas = [seen.pose for seen in evidence], evidence[-1].pose.betas
    config = SmoothingConfig(root_sigma_m=1.0, iterations=5)  # there is no look before it to go on from
    free, floored = (lowest_m(smoothed_poses(evidence, starts, betas, config, soles)) for soles in (None, SOLES))
    jump = np.median(floored[6:12]) - np.median(floored[12:])
    assert jump == pytest.approx(np.median(free[6:12]) - np.median(free[12:]), abs=0.01)
    assert jump > 0.35


def test_a_sigma_of_zero_switches_it_off():
    evidence = evidence_of([state_of(0.2 * i) for i in range(10)])
    starts, betas = [seen.pose for seen in evidence], evidence[-1].pose.betas
    off = smoothed_poses(evidence, starts, betas, SmoothingConfig(floor_sigma_m=0.0), SOLES)
    none = smoothed_poses(evidence, starts, betas, SmoothingConfig())
    for a, b in zip(off, none, strict=True):
        np.testing.assert_array_equal(a.transl, b.transl)
    on = smoothed_poses(evidence, starts, betas, SmoothingConfig(), SOLES)
    assert any((a.transl != b.transl).any() for a, b in zip(on, none, strict=True))
