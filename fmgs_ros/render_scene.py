"""What is drawn, and from where: poses of messages and tf as the core's states and cameras, and back. No ROS needed."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.geometry import rigid, rigid_inverse
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState


@dataclass(frozen=True, eq=False)
class Posed:
    """A body to draw at a time."""

    state: BodyState
    """In the core's world, which was put at the camera that watches the person."""
    stamp_ns: int
    frame_id: str
    """Optical frame of that camera."""


def rigid_of(position: Any, orientation: Any) -> Float[np.ndarray, "4 4"]:
    """T_parent_child of a geometry_msgs Point or Vector3 [m] and Quaternion.

    Raises:
        ValueError: values that are not finite, or a quaternion of no length.
    """
    xyz = np.array([position.x, position.y, position.z])
    xyzw = np.array([orientation.x, orientation.y, orientation.z, orientation.w])
    if not np.isfinite([*xyz, *xyzw]).all() or np.linalg.norm(xyzw) < 1e-6:
        raise ValueError(f"pose: expected finite numbers and a quaternion of some length, got {xyz} and {xyzw}")
    return rigid(Rotation.from_quat(xyzw).as_matrix(), xyz)


def fill_rigid(translation: Any, rotation: Any, T_parent_child: Float[np.ndarray, "4 4"]) -> None:
    """Writes a geometry_msgs Vector3 or Point and a Quaternion."""
    translation.x, translation.y, translation.z = map(float, T_parent_child[:3, 3])
    xyzw = Rotation.from_matrix(T_parent_child[:3, :3]).as_quat()
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, xyzw)


def camera_pose_of_view(T_optical_view: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """T_view_world, for the core, of a view whose pose is given in the optical frame of the camera that watches the person."""
    return rigid_inverse(T_optical_view) @ T_CAMERA_WORLD_UNPOSED


def view_in_optical(T_view_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Inverse of `camera_pose_of_view`: T_optical_view."""
    return T_CAMERA_WORLD_UNPOSED @ rigid_inverse(T_view_world)


def motion_at(states: Sequence[BodyState], fps: float, time_s: float) -> BodyState:
    """The pose of a motion that is played over and over; before its start, the first."""
    return states[math.floor(max(time_s, 0.0) * fps) % len(states)]


class Latencies:
    """Of the last hundred outputs [ms]."""

    def __init__(self, count: int = 100):
        self._values: deque[float] = deque(maxlen=count)

    def add(self, milliseconds: float) -> None:
        self._values.append(milliseconds)

    def figures(self) -> dict[str, float]:
        """Median and 95th percentile; nothing before the first output."""
        values = tuple(self._values)
        if not values:
            return {}
        median, p95 = np.percentile(values, [50, 95])
        return {"latency median [ms]": float(median), "latency p95 [ms]": float(p95)}
