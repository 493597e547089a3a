"""Where the frames of a body are, as plain numbers for tf: `body_<id>` at the mid-hips, and one frame for each joint below it.

All frames have ROS axes (REP-103): in the T-pose x forward, y to the person's left, z up.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState
from fmgs_ros.bodies import rest_joints

R_ROS_BODY = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Body axes (y up, z front) to ROS axes (CONVENTIONS.md)."""
BODY_JOINTS = 22
"""Joints without jaw, eyes and fingers, which come last in SMPL-X's order."""


@dataclass(frozen=True, eq=False)
class FrameTransform:
    """Pose of the frame `child` in the frame `parent`."""

    parent: str
    child: str
    translation: Float[np.ndarray, "3"]
    """[m]"""
    quaternion: Float[np.ndarray, "4"]
    """x, y, z, w; unit length."""


@dataclass(frozen=True, eq=False)
class PosedSkeleton:
    """The joints of one state, in the frame of its root orientation."""

    rotations: Float[np.ndarray, "J 3 3"]
    """Columns are the body axes of each joint."""
    positions: Float[np.ndarray, "J 3"]
    """[m]"""

    @property
    def mid_hips(self) -> Float[np.ndarray, "3"]:
        """Between the two hip joints, 1 and 2 in SMPL-X's order [m]."""
        return self.positions[1:3].mean(0)


def body_frame(body_id: str) -> str:
    """Name of the body's frame (REP-155)."""
    return f"body_{body_id}"


def joint_frame(body_id: str, joint: str) -> str:
    return f"{body_id}/{joint}"


def posed_skeleton(body: BodyModel, state: BodyState) -> PosedSkeleton:
    """Forward kinematics in double precision."""
    rest = rest_joints(body, state.betas, state.expression)
    local = Rotation.from_rotvec(state.pose).as_matrix()
    rotations, positions = local.copy(), rest + state.transl
    for joint in range(1, body.num_joints):
        parent = body.parents[joint]
        rotations[joint] = rotations[parent] @ local[joint]
        positions[joint] = positions[parent] + rotations[parent] @ (rest[joint] - rest[parent])
    return PosedSkeleton(rotations, positions)


def body_transforms(
    body: BodyModel, state: BodyState, camera_frame: str, body_id: str, num_joints: int = BODY_JOINTS
) -> list[FrameTransform]:
    """`body_<id>` in the camera's optical frame, the pelvis in it, and every other joint, `<id>/<name>`, in its parent joint.

    Args:
        state: in the optical frame.
        num_joints: the first so many of the body's joints.
    """
    skeleton = posed_skeleton(body, state)
    count = min(num_joints, body.num_joints)
    R, p = skeleton.rotations[:count] @ R_ROS_BODY.T, skeleton.positions[:count]
    names = [joint_frame(body_id, name) for name in body.joint_names[:count]]
    parents = body.parents[1:count]
    # Rows: the body in the camera, the pelvis in the body, which is turned alike, then each joint in its parent.
    rotations = np.concatenate([R[:1], np.eye(3)[None], np.swapaxes(R[parents], 1, 2) @ R[1:]])
    ways = np.concatenate([p[:1] - skeleton.mid_hips, p[1:] - p[parents]])
    onto = np.concatenate([R[:1], R[parents]])
    translations = np.concatenate([skeleton.mid_hips[None], np.einsum("jba,jb->ja", onto, ways)])
    pairs = [(camera_frame, body_frame(body_id)), (body_frame(body_id), names[0])]
    pairs += [(names[parent], name) for parent, name in zip(parents, names[1:], strict=True)]
    quaternions = Rotation.from_matrix(rotations).as_quat()
    return [FrameTransform(*pair, t, q) for pair, t, q in zip(pairs, translations, quaternions, strict=True)]
