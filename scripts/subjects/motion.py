"""What the people do: once around for the camera, and sixteen poses that the turn never shows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.body.default import default_body

Turns = dict[str, tuple[float, float, float]]
"""Axis-angle [rad] by joint name; what is not named stays straight."""


@dataclass(frozen=True)
class Motion:
    """A turn on the spot. Arms: 0 is the T-pose, 1.3 hangs down, below 0 is raised [rad]."""

    turn: float
    """Yaw reached [rad]; with `back` it is reached in the middle, and the person turns back."""
    back: bool
    arms: tuple[float, float]
    """Lowest and highest of the arms, which swing between them."""
    swings: float
    elbow: float
    stance: float
    """Outward angle of the legs [rad]."""


def turning_poses(motion: Motion, frames: int, seed: int) -> Float[np.ndarray, "n 55 3"]:
    """Poses of the turn; frame 0 faces +z."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, 6)
    share = np.arange(frames) / frames
    way = (1 - np.abs(1 - 2 * share)) if motion.back else share
    yaw = motion.turn * (way + 0.012 * np.sin(6 * np.pi * way))
    poses = []
    for t, angle in zip(share, yaw, strict=True):
        wave = np.sin(2 * np.pi * (np.array([2, 3, 1, 2, 4, 3]) * t) + phase)
        low, high = motion.arms
        arms = high + (low - high) * (0.5 + 0.5 * np.cos(2 * np.pi * motion.swings * t))
        step = np.clip(np.sin(2 * np.pi * 5 * t), -1, 1)
        turns = limbs(arms + 0.05 * wave[0], arms + 0.05 * wave[1], motion.elbow + 0.1 * wave[2], motion.stance)
        lifted = "left" if step > 0 else "right"
        turns[f"{lifted}_knee"] = (0.5 * abs(step), 0.0, 0.0)
        turns[f"{lifted}_hip"] = _added(turns[f"{lifted}_hip"], (-0.25 * abs(step), 0.0, 0.0))
        turns |= {"spine2": (0.04 * wave[3], 0.05 * wave[4], 0.0), "head": (0.05 * wave[5], 0.12 * wave[2], 0.0)}
        poses.append(pose_of(turns, float(angle)))
    return np.stack(poses)


def limbs(left: float, right: float, elbow: float = 0.3, stance: float = 0.1) -> Turns:
    """Arms lowered from the T-pose by two angles, a third of it from the collar when raised; legs apart; hands half open."""
    turns: Turns = {
        "left_elbow": (0.0, -elbow, 0.0),
        "right_elbow": (0.0, elbow, 0.0),
        "left_hip": (0.0, 0.0, stance),
        "right_hip": (0.0, 0.0, -stance),
        "left_ankle": (0.0, 0.0, -stance),
        "right_ankle": (0.0, 0.0, stance),
    }
    for side, angle, sign in (("left", left, -1.0), ("right", right, 1.0)):
        collar = 0.3 * angle if angle < 0 else 0.12 * angle
        turns[f"{side}_collar"] = (0.0, 0.0, sign * collar)
        turns[f"{side}_shoulder"] = (0.0, 0.0, sign * (angle - collar))
        for finger in ("index", "middle", "pinky", "ring"):
            for k in (1, 2, 3):
                turns[f"{side}_{finger}{k}"] = (0.0, 0.0, 0.22 * sign)
    return turns


def unseen_poses(seed: int, count: int = 16) -> Float[np.ndarray, "n 55 3"]:
    """The first `count` of sixteen poses, each with a yaw of its own and every joint shaken by 2 degrees."""
    rng = np.random.default_rng(seed)
    poses = []
    for turns in _UNSEEN[:count]:
        shaken = {name: _added(angle, tuple(rng.normal(0, 0.035, 3))) for name, angle in turns.items()}
        poses.append(pose_of(shaken, float(rng.uniform(-1.2, 1.2))))
    return np.stack(poses)


def pose_of(turns: Turns, yaw: float) -> Float[np.ndarray, "55 3"]:
    """The root turns by `yaw` after what `turns` says of the pelvis."""
    names = default_body().joint_names
    pose = np.zeros((len(names), 3), np.float32)
    for name, angle in turns.items():
        pose[names.index(name)] = angle
    pose[0] = (Rotation.from_rotvec([0.0, yaw, 0.0]) * Rotation.from_rotvec(pose[0])).as_rotvec()
    return pose


def _added(a: tuple[float, ...], b: tuple[float, ...]) -> tuple[float, float, float]:
    """Sum of two small axis-angle vectors."""
    x, y, z = (float(p + q) for p, q in zip(a, b, strict=True))
    return x, y, z


_UNSEEN: tuple[Turns, ...] = (
    limbs(-1.1, -1.1),
    limbs(-1.1, 1.2),
    limbs(0.0, 0.0, elbow=1.4),
    limbs(0.5, 0.5, elbow=1.9),
    limbs(1.2, 1.2) | {"left_hip": (-0.9, 0.0, 0.1), "left_knee": (1.1, 0.0, 0.0)},
    limbs(0.2, 0.2) | {"right_hip": (-1.1, 0.0, -0.15), "right_knee": (0.5, 0.0, 0.0)},
    limbs(0.6, 0.6) | {"left_hip": (-0.8, 0.0, 0.25), "right_hip": (-0.8, 0.0, -0.25), "left_knee": (1.3, 0.0, 0.0),
                       "right_knee": (1.3, 0.0, 0.0), "left_ankle": (-0.5, 0.0, -0.2), "right_ankle": (-0.5, 0.0, 0.2)},
    limbs(1.0, 1.0) | {"spine1": (0.4, 0.0, 0.0), "spine2": (0.3, 0.0, 0.0)},
    limbs(1.1, 1.1) | {"spine1": (0.0, 0.4, 0.0), "spine2": (0.0, 0.3, 0.0), "head": (0.0, 0.5, 0.0)},
    limbs(0.9, -0.8) | {"spine1": (0.0, 0.0, 0.3), "spine2": (0.0, 0.0, 0.2)},
    limbs(1.2, 0.3, elbow=0.9) | {"head": (0.35, 0.0, 0.0)},
    limbs(0.3, 1.0) | {"left_hip": (-0.6, 0.0, 0.1), "right_hip": (0.4, 0.0, -0.1), "right_knee": (0.5, 0.0, 0.0)},
    limbs(0.1, 0.1) | {"left_hip": (0.0, 0.0, 0.45), "right_hip": (0.0, 0.0, -0.45)},
    limbs(1.3, 1.3, elbow=0.1) | {"head": (-0.3, -0.4, 0.0)},
    limbs(0.8, 0.8, elbow=2.1),
    limbs(-0.5, -0.5, elbow=1.2) | {"right_hip": (0.0, 0.0, -0.5)},
)  # fmt: skip
