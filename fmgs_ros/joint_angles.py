"""The 20 joint angles of the REP-155 kinematic model, from a body state. Names, axes and signs are human_description's.

That model has fewer degrees of freedom than a body: a waist that only bends, hinges for elbows and knees. So the directions of
the limbs are kept, which is what others look at: upper and lower arms and legs point exactly where the body's do, the head is
turned exactly as the body's, and what the waist cannot do (lean aside, twist) goes into the shoulders and the head.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState
from fmgs_ros.transforms import R_ROS_BODY, posed_skeleton

SIDES = {"l": 1.0, "r": -1.0}
"""Prefix, and the sign that mirrors an axis."""
# A hinge bent by less than the first angle says nothing of its own plane, from the second on it says all [rad].
_STRAIGHT, _BENT = np.radians(3.0), np.radians(10.0)
# Up to here a hinge may be bent the wrong way, which is noise; beyond, the limb is turned about its axis instead [rad].
_OVERSTRETCHED = np.radians(20.0)
_FORWARD, _UP = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])

LIMITS = {
    "waist": (-0.7, 1.8),
    "r_head": (-1.0, 1.0),
    "y_head": (-1.6, 1.6),
    "p_head": (-1.5, 1.5),
    **{
        f"{side}_{name}": limits
        for side in SIDES
        for name, limits in {
            "y_shoulder": (-1.6, 2.2),
            "p_shoulder": (-0.6, 3.3),
            "r_shoulder": (-2.2, 2.2),
            "elbow": (-0.35, 2.8),
            "y_hip": (-1.2, 1.2),
            "p_hip": (-0.9, 1.5),
            "r_hip": (-0.9, 2.5),
            "knee": (-2.8, 0.35),
        }.items()
    },
}
"""Name of each joint without the body's id, and its least and largest angle [rad]: what people can do, with some room."""
JOINT_NAMES = tuple(LIMITS)


@dataclass(frozen=True)
class Limb:
    """Joints of an arm or a leg, by their names in the body, and the way its hinge bends."""

    root: str
    middle: str
    end: str
    bends: float
    """+1: the lower part comes forward (elbow), -1: it goes back (knee)."""


def arm(side: str) -> Limb:
    name = _SIDE_NAMES[side]
    return Limb(f"{name}_shoulder", f"{name}_elbow", f"{name}_wrist", 1.0)


def leg(side: str) -> Limb:
    name = _SIDE_NAMES[side]
    return Limb(f"{name}_hip", f"{name}_knee", f"{name}_ankle", -1.0)


_SIDE_NAMES = {"l": "left", "r": "right"}


def joint_angles(body: BodyModel, state: BodyState) -> dict[str, float]:
    """Angle [rad] of each of JOINT_NAMES. The frame of the state does not matter: the root's pose is in the body's frame.

    Raises:
        ValueError: the body lacks a joint of SMPL's 22.
    """
    joints = _Joints(body, state)
    waist = twist(joints.rotation("spine3"), 1)
    R_body_torso = Rotation.from_euler("y", waist).as_matrix()
    roll, yaw, pitch = _angles_xzy(R_body_torso.T @ joints.rotation("head"))
    angles = {"waist": waist, "r_head": roll, "y_head": yaw, "p_head": -pitch}
    for side, sign in SIDES.items():
        R, elbow = _limb(joints, arm(side), R_body_torso)
        y, p, r = _shoulder_angles(R, sign, side)
        angles |= {f"{side}_y_shoulder": y, f"{side}_p_shoulder": p, f"{side}_r_shoulder": r, f"{side}_elbow": elbow}
        R, knee = _limb(joints, leg(side), np.eye(3))
        a, b, c = _angles_zxy(R)
        angles |= {f"{side}_y_hip": -a, f"{side}_p_hip": sign * b, f"{side}_r_hip": -c, f"{side}_knee": knee}
    return {name: float(angles[name]) for name in JOINT_NAMES}


def twist(R: Float[np.ndarray, "3 3"], axis: int) -> float:
    """The part of a rotation about one of the axes, in [-pi, pi): R = swing @ twist, the swing's axis at right angles to it."""
    x, y, z, w = Rotation.from_matrix(R).as_quat()
    angle = 2 * np.arctan2((x, y, z)[axis], w)
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


class _Joints:
    """Posed joints in ROS axes, relative to the root joint's orientation."""

    def __init__(self, body: BodyModel, state: BodyState):
        skeleton = posed_skeleton(body, state)
        self._index = {name: i for i, name in enumerate(body.joint_names)}
        self._rotations = R_ROS_BODY @ (skeleton.rotations[0].T @ skeleton.rotations) @ R_ROS_BODY.T
        self._positions = (skeleton.positions - skeleton.positions[0]) @ skeleton.rotations[0] @ R_ROS_BODY.T

    def rotation(self, name: str) -> Float[np.ndarray, "3 3"]:
        return self._rotations[self._at(name)]

    def direction(self, start: str, end: str) -> Float[np.ndarray, "3"]:
        way = self._positions[self._at(end)] - self._positions[self._at(start)]
        return way / np.linalg.norm(way)

    def _at(self, name: str) -> int:
        if name not in self._index:
            raise ValueError(f"joint_angles: expected a body with the joint {name!r}, got {', '.join(self._index)}")
        return self._index[name]


def _limb(joints: _Joints, limb: Limb, R_body_parent: np.ndarray) -> tuple[Float[np.ndarray, "3 3"], float]:
    """Orientation of the upper part in its parent, z against the limb's direction and y along the hinge, and the hinge's angle.

    Where the limb is bent, the plane in which it is bent gives the hinge; where it is straight, the twist of the root joint.
    """
    upper = R_body_parent.T @ joints.direction(limb.root, limb.middle)
    lower = R_body_parent.T @ joints.direction(limb.middle, limb.end)
    anatomical = _at_right_angles(R_body_parent.T @ joints.rotation(limb.root) @ _FORWARD, upper)
    across = lower - (lower @ upper) * upper
    bend = np.arctan2(np.linalg.norm(across), lower @ upper)
    sign = limb.bends
    if bend > 1e-9:
        measured = sign * across / np.linalg.norm(across)
        if measured @ anatomical < 0 and bend < _OVERSTRETCHED:
            measured, sign = -measured, -sign
        share = np.clip((bend - _STRAIGHT) / (_BENT - _STRAIGHT), 0.0, 1.0)
        anatomical = _at_right_angles(share * measured + (1 - share) * anatomical, upper)
    return np.stack([anatomical, np.cross(-upper, anatomical), -upper], 1), float(sign * bend)


def _at_right_angles(direction: np.ndarray, axis: np.ndarray) -> Float[np.ndarray, "3"]:
    """The direction's part across a unit axis, unit length; where there is none, any such direction."""
    for candidate in (direction, _UP, _FORWARD):
        across = candidate - (candidate @ axis) * axis
        length = np.linalg.norm(across)
        if length > 1e-6:
            return across / length
    raise AssertionError(f"axis {axis} is neither across up nor across forward")


def _shoulder_angles(R: np.ndarray, sign: float, side: str) -> tuple[float, float, float]:
    """y, p, r of R = Rz(-sign y) Rx(sign p) Rz(sign r), the solution that a shoulder can do.

    An arm that hangs straight down is this chain's singularity: y and r are then known only together, and y is taken as 0.
    """
    b = np.arctan2(np.hypot(R[0, 2], R[1, 2]), R[2, 2])
    if np.sin(b) < 1e-6:
        # Rz(a) Rx(0 or pi) Rz(c): with a = 0, c is left.
        solutions = [(0.0, b, np.arctan2(R[1, 0] * np.cos(b), R[0, 0]))]
    else:
        a, c = np.arctan2(R[0, 2], -R[1, 2]), np.arctan2(R[2, 0], R[2, 1])
        solutions = [(a, b, c), (_wrapped(a + np.pi), -b, _wrapped(c + np.pi))]
    candidates = [(-sign * a, sign * b, sign * c) for a, b, c in solutions]
    return min(candidates, key=lambda angles: _excess(angles, side))


def _excess(angles: tuple[float, float, float], side: str) -> float:
    """How far shoulder angles lie outside of their limits [rad]; a hair for their size, so that the smaller ones win."""
    limits = (LIMITS[f"{side}_{name}_shoulder"] for name in "ypr")
    outside = sum(max(low - angle, 0.0, angle - high) for angle, (low, high) in zip(angles, limits, strict=True))
    return outside + 1e-3 * abs(angles[0])


def _angles_zxy(R: np.ndarray) -> tuple[float, float, float]:
    """a, b, c of R = Rz(a) Rx(b) Ry(c), b within a right angle."""
    return np.arctan2(-R[0, 1], R[1, 1]), np.arcsin(np.clip(R[2, 1], -1, 1)), np.arctan2(-R[2, 0], R[2, 2])


def _angles_xzy(R: np.ndarray) -> tuple[float, float, float]:
    """a, b, c of R = Rx(a) Rz(b) Ry(c), b within a right angle."""
    return np.arctan2(R[2, 1], R[1, 1]), np.arcsin(np.clip(-R[0, 1], -1, 1)), np.arctan2(R[0, 2], R[0, 0])


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
