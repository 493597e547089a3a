"""Frames of a body for tf. Kind: parity with skinning, properties."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_joints
from fmgs_core.types import BodyState
from fmgs_ros.bodies import state_in_optical
from fmgs_ros.transforms import BODY_JOINTS, R_ROS_BODY, body_transforms

BODY = default_body()


def random_state(seed: int) -> BodyState:
    rng = np.random.default_rng(seed)
    return BodyState(rng.normal(size=16), rng.normal(scale=0.6, size=(55, 3)), rng.normal(size=3), np.zeros(52))


def poses(state: BodyState, num_joints: int = 55) -> dict[str, np.ndarray]:
    """4 x 4 of each frame in the camera's, by looking up parents as tf does."""
    found = {"camera": np.eye(4)}
    for frame in body_transforms(BODY, state, "camera", "p1", num_joints):
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = Rotation.from_quat(frame.quaternion).as_matrix(), frame.translation
        found[frame.child] = found[frame.parent] @ T
    return found


@pytest.mark.parametrize("seed", range(4))
def test_joint_frames_stand_where_the_joints_are(seed: int):
    state = random_state(seed)
    found, joints = poses(state), posed_joints(BODY, state)
    # Joints of skinning are float32.
    for name, expected in zip(BODY.joint_names, joints, strict=True):
        np.testing.assert_allclose(found[f"p1/{name}"][:3, 3], expected, atol=2e-6)
    np.testing.assert_allclose(found["body_p1"][:3, 3], joints[1:3].mean(0), atol=2e-6)


def test_axes_of_a_person_who_faces_the_camera():
    """REP-103 at the body: x out of the chest, towards the camera (-z of it), y to the person's left (+x), z up (-y)."""
    facing = BodyState(np.zeros(16), np.zeros((55, 3)), np.array([0, 0, -3.0]), np.zeros(52))
    found = poses(state_in_optical(BODY, facing))
    for frame in ("body_p1", "p1/pelvis", "p1/head", "p1/left_wrist"):
        np.testing.assert_allclose(found[frame][:3, :3], [[0, 1, 0], [0, 0, -1], [-1, 0, 0]], atol=1e-6)
    assert found["p1/head"][1, 3] < found["p1/pelvis"][1, 3]
    assert found["p1/left_wrist"][0, 3] > 0.5


def test_every_frame_has_one_parent_that_was_told_before():
    transforms = body_transforms(BODY, random_state(0), "camera", "p1")
    assert len(transforms) == 1 + BODY_JOINTS
    known = {"camera"}
    for frame in transforms:
        assert frame.parent in known and frame.child not in known
        known.add(frame.child)
        assert np.linalg.norm(frame.quaternion) == pytest.approx(1)


def test_the_rotation_of_the_page_of_conventions():
    quaternion = Rotation.from_matrix(R_ROS_BODY).as_quat()
    np.testing.assert_allclose(quaternion * np.sign(quaternion[3]), [0.5] * 4)
