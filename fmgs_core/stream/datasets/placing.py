"""Body states moved into another world, and SMPL parameters made into body states."""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rigid_inverse
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState

SMPL_JOINTS = 24


def smpl_state(
    body: BodyModel,
    betas: Float[np.ndarray, "10"],
    pose: Float[np.ndarray, "24 3"],
    transl: Float[np.ndarray, "3"],
) -> BodyState:
    """A state of a SMPL body; betas that the body lacks must be zero.

    Raises:
        ValueError: the body is not SMPL, or cannot take the shape.
    """
    if body.num_joints != SMPL_JOINTS:
        raise ValueError(
            f"body: expected a SMPL model of {SMPL_JOINTS} joints (--body PATH), since the poses of this dataset are SMPL's;"
            f" got {body.name!r} with {body.num_joints}"
        )
    count = body.shapedirs.shape[2]
    if np.any(betas[count:]):
        raise ValueError(f"body: expected a model with {len(betas)} shape coefficients, got {count}")
    padded = np.zeros(count)
    padded[: len(betas)] = betas[:count]
    return BodyState(padded, pose, transl, np.zeros(body.exprdirs.shape[2]))


def carried(body: BodyModel, state: BodyState, R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]) -> BodyState:
    """The state whose every point is R x + t of the given one's.

    The root turns about its rest joint J: R (R0 (v - J) + J + transl) + t = (R R0) (v - J) + J + transl'.
    """
    root = np.asarray(body.J_regressor[0] @ (body.v_template + body.shapedirs @ state.betas), np.float64).ravel()
    pose = state.pose.astype(np.float64)
    pose[0] = cv2.Rodrigues(R @ cv2.Rodrigues(pose[0])[0])[0].ravel()
    return replace(state, pose=pose, transl=R @ (root + state.transl) + t - root)


def T_world_data(T_camera_data: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Into the world in which this camera stands unposed (CONVENTIONS.md): y up as far as the camera is level."""
    return rigid_inverse(T_CAMERA_WORLD_UNPOSED) @ T_camera_data


def moved(body: BodyModel, state: BodyState, T: Float[np.ndarray, "4 4"]) -> BodyState:
    """`carried` by a rigid transform."""
    return carried(body, state, T[:3, :3], T[:3, 3])
