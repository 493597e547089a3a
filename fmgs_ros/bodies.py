"""Body states in the camera's optical frame, as they travel, and in the core's world, where the avatar and its light live."""

from array import array
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rigid_inverse
from fmgs_core.tracking.tracker import TrackingStatus
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState

STATUS = {TrackingStatus.SEARCHING: 0, TrackingStatus.TRACKING: 1, TrackingStatus.LOST: 2}
"""As the constants of BodyState.msg."""
_POSE_WIDTH = 3


def state_in_optical(
    body: BodyModel, state: BodyState, T_optical_world: Float[np.ndarray, "4 4"] = T_CAMERA_WORLD_UNPOSED
) -> BodyState:
    """The same body seen from the camera: R' = R_ow R, and t' = R_ow (J + t) + t_ow - J, for the root turns about its rest
    joint J."""
    R, t = T_optical_world[:3, :3], T_optical_world[:3, 3]
    rest_root = rest_joints(body, state.betas, state.expression)[0]
    pose = state.pose.copy()
    pose[0] = Rotation.from_matrix(R @ Rotation.from_rotvec(state.pose[0]).as_matrix()).as_rotvec()
    return BodyState(state.betas, pose, R @ (rest_root + state.transl) + t - rest_root, state.expression)


def state_from_optical(
    body: BodyModel, state: BodyState, T_optical_world: Float[np.ndarray, "4 4"] = T_CAMERA_WORLD_UNPOSED
) -> BodyState:
    """Inverse of `state_in_optical`."""
    return state_in_optical(body, state, rigid_inverse(T_optical_world))


def rest_joints(
    body: BodyModel, betas: Float[np.ndarray, " B"], expression: Float[np.ndarray, " E"]
) -> Float[np.ndarray, "J 3"]:
    """Joints of the shaped body in T-pose [m]. Fewer coefficients than the body has are followed by zeros."""
    joints, shape_dirs, expression_dirs = _joint_tables(body)
    return joints + shape_dirs[..., : len(betas)] @ betas + expression_dirs[..., : len(expression)] @ expression


def fill_body_state(message: Any, state: BodyState | None, status: TrackingStatus, confidence: float) -> None:
    """Writes a state, already in the optical frame, into a BodyState message; header, body_id and body_model are left alone."""
    message.status, message.confidence = STATUS[status], float(confidence)
    for name in ("betas", "pose", "expression"):
        values = np.zeros(0) if state is None else getattr(state, name)
        setattr(message, name, array("f", np.asarray(values, np.float32).tobytes()))
    message.transl = np.zeros(3, np.float32) if state is None else state.transl


def state_of(body: BodyModel, message: Any) -> BodyState | None:
    """The state that a BodyState message holds, in its optical frame; None when its pose is empty.

    Raises:
        ValueError: it does not fit the body, or holds values that are not finite.
    """
    pose = np.asarray(message.pose, np.float32)
    if pose.size == 0:
        return None
    if pose.size != _POSE_WIDTH * body.num_joints:
        expected = f"{_POSE_WIDTH} x {body.num_joints} of the body {body.name!r}"
        raise ValueError(f"BodyState.pose: expected {expected}, got {pose.size} values of {message.body_model!r}")
    coefficients = {}
    for name, most in (("betas", body.shapedirs.shape[2]), ("expression", body.exprdirs.shape[2])):
        coefficients[name] = np.asarray(getattr(message, name), np.float32)
        if coefficients[name].size > most:
            raise ValueError(f"BodyState.{name}: expected at most {most} values, got {coefficients[name].size}")
    expression = coefficients["expression"] if len(coefficients["expression"]) else np.zeros(body.exprdirs.shape[2])
    transl = np.asarray(message.transl, np.float32)
    return BodyState(coefficients["betas"], pose.reshape(-1, _POSE_WIDTH), transl, expression)


@lru_cache(maxsize=4)
def _joint_tables(body: BodyModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rest joints and how they move with each coefficient: the regressor is linear, so the vertices are not needed."""
    regressor = body.J_regressor.astype(np.float64)

    def regressed(directions: np.ndarray) -> np.ndarray:
        flat = regressor @ directions.reshape(len(directions), -1).astype(np.float64)
        return flat.reshape(body.num_joints, 3, -1)

    return regressor @ body.v_template.astype(np.float64), regressed(body.shapedirs), regressed(body.exprdirs)
