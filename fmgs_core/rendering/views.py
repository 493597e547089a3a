"""Cameras around a body."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.body.skinning import posed_joints
from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import look_at
from fmgs_core.types import BodyState, Camera

FOCAL_PER_SIDE = 1.5  # of the picture's side: a narrow view, so that a body is not distorted
FRAMING = 1.25  # picture height over body height


def framing_camera(center: Float[np.ndarray, "3"], body_height_m: float, yaw: float, elevation: float, size_px: int) -> Camera:
    """A square view of a body: yaw 0 looks at its front if it faces +z, growing towards its left side [rad]."""
    focal = FOCAL_PER_SIDE * size_px
    distance = FRAMING * body_height_m * focal / size_px
    direction = np.array([np.sin(yaw) * np.cos(elevation), np.sin(elevation), np.cos(yaw) * np.cos(elevation)])
    K = np.array([[focal, 0, size_px / 2], [0, focal, size_px / 2], [0, 0, 1]])
    return Camera(K, size_px, size_px, look_at(center + distance * direction, center))


def orbit(
    center: Float[np.ndarray, "3"],
    body_height_m: float,
    count: int,
    size_px: int,
    start_yaw: float = 0.0,
    elevation: float = 0.1,
) -> Iterator[Camera]:
    """`count` views once around, the first from start_yaw [rad]."""
    for i in range(count):
        yield framing_camera(center, body_height_m, start_yaw + 2 * np.pi * i / count, elevation, size_px)


def around(body: BodyModel, betas: Float[np.ndarray, " B"], state: BodyState, count: int, size_px: int) -> Iterator[Camera]:
    """Once around a posed body, starting in front of it."""
    joints = posed_joints(body, replace(state, betas=betas))
    center = (joints.min(0) + joints.max(0)) / 2
    return orbit(center.astype(np.float64), body.height(betas), count, size_px, start_yaw=facing_yaw(state))


def facing_yaw(state: BodyState) -> float:
    """Direction the root faces about world y [rad]; 0 is +z, growing towards +x."""
    forward = Rotation.from_rotvec(state.pose[0]).apply([0.0, 0.0, 1.0])
    return float(np.arctan2(forward[0], forward[2]))
