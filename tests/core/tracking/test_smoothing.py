"""The second look: finite differences of its terms, parity of its band, behaviour on people who turn and stand still."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_joints
from fmgs_core.geometry import look_at
from fmgs_core.tracking import BodyTracker, SecondLook, SmoothingConfig, TrackerConfig, second_look
from fmgs_core.tracking.kinematics import BETAS, BodyPose
from fmgs_core.tracking.motion_terms import add_motion_terms, lower_band
from fmgs_core.tracking.silhouette import Silhouette
from fmgs_core.tracking.smoothing import smoothed_poses
from fmgs_core.tracking.so3 import log_so3
from fmgs_core.tracking.solver import moved

from .synthetic import BODY, CAMERA, FRAME_NS, NUM_BETAS, SKELETON, camera_pose, frame_at, keypoints_of, maps_of, state_of

TRACKER = TrackerConfig(subject_height_m=1.84, use_silhouette=False)
COUNT = 3


def cameras() -> list:
    eyes = np.array([[0.3, 1.2, 3.6], [0.5, 1.0, 3.4], [-0.2, 1.4, 3.8]])
    return [replace(CAMERA, T_camera_world=look_at(eye, np.array([0.0, 0.9, 0.0]))) for eye in eyes]


def motion(poses: list[BodyPose]):
    """Cost and g of three frames seen by a camera that moves."""
    worlds = [np.linalg.inv(camera.T_camera_world) for camera in cameras()]
    rotations = np.stack([pose.rotations for pose in poses])
    roots = np.empty((COUNT, 3))
    for k, (world, pose) in enumerate(zip(worlds, poses, strict=True)):
        rotations[k, 0] = world[:3, :3] @ pose.rotations[0]
        roots[k] = world[:3, :3] @ (SKELETON.joints[0] + pose.transl) + world[:3, 3]
    seen = np.stack([np.ascontiguousarray(camera.T_camera_world[:3, :3]) for camera in cameras()])
    diagonal, gradient = np.zeros((COUNT, BETAS, BETAS)), np.zeros((COUNT, BETAS))
    coupling = np.zeros((COUNT - 1, BETAS, BETAS))
    sigmas, root_sigmas = np.full((COUNT - 1, 22), 0.2), np.array([0.05, 0.1])
    cost = add_motion_terms(rotations, roots, seen, sigmas, root_sigmas, diagonal, coupling, gradient)
    return cost, gradient, diagonal, coupling


def poses_at_random() -> list[BodyPose]:
    rng = np.random.default_rng(0)
    base = camera_pose(state_of(0.4), CAMERA)
    return [moved(base, np.r_[0.2 * rng.standard_normal(66), 0.05 * rng.standard_normal(3), np.zeros(6)]) for _ in range(COUNT)]


def test_gradient_of_the_motion_terms_by_finite_differences():
    """Central differences of a cost of about 30 in float64: noise 1e-10, measured agreement 1e-8."""
    poses = poses_at_random()
    _, gradient, _, _ = motion(poses)
    h = 1e-5
    for k in range(COUNT):
        for n in range(BETAS):
            step = np.zeros(BETAS + 6)
            step[n] = h
            ahead, back = ([*poses[:k], moved(poses[k], sign * step), *poses[k + 1 :]] for sign in (1, -1))
            assert 2 * gradient[k, n] == pytest.approx((motion(ahead)[0] - motion(back)[0]) / (2 * h), abs=1e-6)
    assert np.abs(gradient).max() > 1


def dense(diagonal: np.ndarray, coupling: np.ndarray) -> np.ndarray:
    H = np.asarray(scipy.linalg.block_diag(*diagonal))
    for k, block in enumerate(coupling):
        a, b = slice(k * BETAS, (k + 1) * BETAS), slice((k + 1) * BETAS, (k + 2) * BETAS)
        H[a, b], H[b, a] = block, block.T
    return H


def test_the_system_is_positive_and_its_band_is_the_dense_one():
    _, gradient, diagonal, coupling = motion(poses_at_random())
    diagonal = diagonal + np.eye(BETAS)
    H = dense(diagonal, coupling)
    assert np.linalg.eigvalsh(H - np.eye(len(H))).min() > -1e-9  # J' J
    H[np.diag_indices(len(H))] *= 1.5
    step = scipy.linalg.solveh_banded(lower_band(diagonal, coupling, 0.5), gradient.ravel(), lower=True)
    np.testing.assert_allclose(step, np.linalg.solve(H, gradient.ravel()), atol=1e-8)


def turning(count: int, turn: float = 1.5 * np.pi) -> list:
    """Somebody who turns on the spot with resting limbs."""
    return [state_of(turn * i / count) for i in range(count)]


def detected(state, index: int):
    """MediaPipe's way: forearms seem nearer to the camera than they are, the same in each frame."""
    keypoints = keypoints_of(state, CAMERA, noise_px=1.5, depth_noise_m=0.03, seed=index)
    assert keypoints.points_3d is not None
    keypoints.points_3d[[13, 14], 2] -= 0.05
    keypoints.points_3d[[15, 16, 17, 18, 19, 20], 2] -= 0.15
    return keypoints


def looked_twice(states: list, second: SecondLook, start: int = 0) -> tuple[dict, dict]:
    """World states by stamp: as tracked, and after the second look."""
    tracker, first = BodyTracker(BODY, TRACKER), {}
    for i, state in enumerate(states, start):
        tracked = tracker.update(frame_at(i), maps_of(detected(state, i)))
        assert tracked.evidence is not None
        assert tracked.state is not None
        second.add(tracked.evidence)
        first[tracked.evidence.stamp_ns] = tracked.state
    return first, second.states()


def error_mm(found: dict, truth: list) -> float:
    """Mean over the body's joints, root-aligned."""
    a, b = (np.stack([posed_joints(BODY, state)[:22] for state in states]) for states in (found.values(), truth))
    return float(1000 * np.linalg.norm(a - a[:, :1] - b + b[:, :1], axis=-1).mean())


def test_a_turn_on_the_spot_tells_the_depth_of_the_limbs():
    """28 mm as tracked, 13 after: the arms' error points at the camera, which sees them from all sides."""
    states = turning(30)
    first, second = looked_twice(states, SecondLook(BODY, TRACKER, SmoothingConfig()))
    assert error_mm(second, states) < 0.65 * error_mm(first, states)


def evidence_of(states: list) -> list:
    tracker = BodyTracker(BODY, TRACKER)
    found = (tracker.update(frame_at(i), maps_of(detected(state, i))).evidence for i, state in enumerate(states))
    return [seen for seen in found if seen is not None]


def turn_between(a: BodyPose, b: BodyPose) -> float:
    return float(
        np.linalg.norm([log_so3(x.T @ y) for x, y in zip(a.rotations[1:], b.rotations[1:], strict=True)], axis=1).max()
    )


def test_frames_far_apart_in_time_are_not_tied_together():
    """Two frames a second and more apart stay as if alone; the same two as neighbours meet."""
    states = [state_of(0.0, arms=0.0), state_of(0.0, arms=0.8)]
    near = evidence_of(states)
    far = [near[0], replace(near[1], stamp_ns=near[0].stamp_ns + 2_000_000_000)]
    config, betas = SmoothingConfig(rotation_sigma_rad=0.5, iterations=8), near[1].pose.betas
    starts = [seen.pose for seen in near]
    alone = [smoothed_poses([seen], [seen.pose], betas, config)[0] for seen in far]
    apart, tied = smoothed_poses(far, starts, betas, config), smoothed_poses(near, starts, betas, config)
    # The damping is shared, so that the ways to the minimum differ by a little.
    assert turn_between(*apart) == pytest.approx(turn_between(*alone), abs=0.02)
    assert turn_between(*tied) < 0.95 * turn_between(*apart)


def test_another_shape_leaves_the_root_where_it_was():
    (seen,) = evidence_of([state_of(0.3)])
    betas = seen.pose.betas + np.array([0.0, 1.5, -1.0, 0.5, 0.0, 0.0])

    def root(pose: BodyPose) -> np.ndarray:
        return SKELETON.joints[0] + SKELETON.joint_dirs[0] @ pose.betas + pose.transl

    (pose,) = smoothed_poses([seen], [seen.pose], betas, SmoothingConfig(iterations=1))
    np.testing.assert_array_equal(pose.betas, betas)
    assert np.linalg.norm(SKELETON.joint_dirs[0] @ (betas - seen.pose.betas)) > 0.005  # the test sees something
    assert np.linalg.norm((root(pose) - root(seen.pose))[:2]) < 0.01  # one step of the fit besides


class After:
    """False so many times, then true; counts how often it was asked afterwards."""

    def __init__(self, times: int):
        self.left, self.late = times, 0

    def __call__(self) -> bool:
        self.left -= 1
        self.late += self.left < 0
        return self.left < 0


@pytest.mark.parametrize(("asked", "finished"), [(0, 0), (3, 0), (8, 0), (12, 0), (17, 1), (20, 1), (26, 2)])
def test_it_can_be_broken_off_at_any_frame_and_leaves_what_was_finished(asked: int, finished: int):
    """Bit for bit what so many iterations give. Of 8 frames it asks before each, and before each iteration: 8, then 9 times."""
    evidence = evidence_of([state_of(0.2 * i) for i in range(8)])
    starts, betas = [seen.pose for seen in evidence], evidence[0].pose.betas
    stopped = After(asked)
    left = smoothed_poses(evidence, starts, betas, SmoothingConfig(iterations=3), stopped=stopped)
    expected = smoothed_poses(evidence, starts, betas, SmoothingConfig(iterations=finished)) if finished else starts
    for a, b in zip(left, expected, strict=True):
        np.testing.assert_array_equal(a.rotations, b.rotations)
        np.testing.assert_array_equal(a.betas, betas)
    assert 1 <= stopped.late <= 3


def test_broken_off_it_still_gives_all_states_and_goes_on_from_them():
    states = turning(20)
    second, whole = (SecondLook(BODY, TRACKER, SmoothingConfig(iterations=2)) for _ in range(2))
    looked_twice(states, whole)
    for seen in evidence_of(states):
        second.add(seen)
    assert len(second.states(After(30))) == 20  # in the middle of the first iteration
    broken = second.states(After(20 + 21 + 5))  # after the first
    again = error_mm(second.states(), states)
    assert error_mm(whole.states(), states) <= again + 1.0 < error_mm(broken, states)


def test_it_is_due_as_often_as_the_stream_grows_by_a_share():
    second = SecondLook(BODY, TRACKER, SmoothingConfig(iterations=1, first_after_frames=4, growth=0.5))
    seen, due = evidence_of([state_of(0.0)])[0], []
    for i in range(30):
        second.add(replace(seen, stamp_ns=i * FRAME_NS))
        if second.due:
            due.append(i + 1)
            assert len(second.states()) == i + 1
            assert not second.behind
    assert due == [4, 8, 12, 18, 27]


def test_it_keeps_the_newest_frames_and_starts_anew_when_a_clock_jumps_back():
    second = SecondLook(BODY, TRACKER, SmoothingConfig(iterations=1, frames=3))
    seen = evidence_of([state_of(0.0)])[0]
    for i in range(5):
        second.add(replace(seen, stamp_ns=i * FRAME_NS))
    assert list(second.states()) == [2 * FRAME_NS, 3 * FRAME_NS, 4 * FRAME_NS]
    second.add(replace(seen, stamp_ns=0))
    second.add(replace(seen, stamp_ns=FRAME_NS))
    assert list(second.states()) == [0, FRAME_NS]


def test_switched_off_it_is_never_due():
    second = SecondLook(BODY, TRACKER, SmoothingConfig(enabled=False))
    seen = evidence_of([state_of(0.0)])[0]
    for i in range(20):
        second.add(replace(seen, stamp_ns=i * FRAME_NS))
    assert not second.due
    assert not second.behind


def test_a_frame_that_is_not_believed_is_no_evidence():
    tracker = BodyTracker(BODY, TRACKER)
    assert tracker.update(frame_at(0), maps_of(detected(state_of(0.0), 0))).evidence is not None
    assert tracker.update(frame_at(1), maps_of(None)).evidence is None


def test_early_frames_are_judged_in_the_clothes_that_are_known_later(monkeypatch: pytest.MonkeyPatch):
    """Closed form: the contour's points lie on the skin, moved out along the normals by the newest frame's inflation."""
    given = []
    monkeypatch.setattr(second_look, "smoothed_poses", lambda evidence, starts, *_: given.extend(evidence) or starts)
    tracker, second = BodyTracker(BODY, TrackerConfig(subject_height_m=1.84)), SecondLook(BODY, TRACKER, SmoothingConfig())
    silhouette = Silhouette(BODY, SKELETON, NUM_BETAS)
    for i, state in enumerate(turning(3, 0.3)):
        drawn = draw_mesh(
            silhouette.vertices(camera_pose(state, CAMERA)), BODY.faces, replace(CAMERA, T_camera_world=np.eye(4))
        )
        mask = (drawn.face >= 0).astype(np.float32)
        seen = tracker.update(frame_at(i), maps_of(keypoints_of(state, CAMERA), mask)).evidence
        assert seen is not None
        second.add(replace(seen, inflation=np.full(BODY.num_vertices, 0.01 * (i + 1), np.float32)))
    second.states()
    first = given[0].problem.contour.points
    assert len(first.rest) == len(given[0].vertices) > 50
    out = first.rest - BODY.v_template[given[0].vertices]
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 0.03, rtol=1e-3)  # the newest frame's
    np.testing.assert_array_equal(first.rest_dirs, BODY.shapedirs[given[0].vertices, :, :NUM_BETAS])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation_sigma_rad", 0.0),
        ("root_sigma_m", float("nan")),
        ("floor_sigma_m", -0.1),
        ("floor_sigma_m", float("inf")),
        ("floor_sigma_m", float("nan")),
        ("growth", -1),
        ("iterations", 0),
        ("frames", 1),
    ],
)
def test_settings_that_mean_nothing_are_named(name: str, value: Any):
    with pytest.raises(ValueError, match=f"SmoothingConfig.{name}"):
        SmoothingConfig(**{name: value})


def test_the_cost_of_a_start_at_the_minimum_stays():
    """Twice the iterations from where the first ended move no joint by more than a degree."""
    seen = evidence_of(turning(6))
    betas = seen[-1].pose.betas
    once = smoothed_poses(seen, [e.pose for e in seen], betas, SmoothingConfig(iterations=30))
    again = smoothed_poses(seen, once, betas, SmoothingConfig(iterations=30))
    assert max(turn_between(a, b) for a, b in zip(once, again, strict=True)) < np.radians(1)
