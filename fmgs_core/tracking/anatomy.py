"""Pose prior and joint limits, as Gaussians and boxes on the axis-angle components of each joint.

The numbers were tuned on rendered people against ground truth: without this prior the root turns by 19 instead of 5 degrees,
because MediaPipe's depth is poor. They are given for the left side; right is its mirror image (y and z change sign).
"""

import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.kinematics import NUM_JOINTS
from fmgs_core.tracking.solver import Anatomy

# joint: mean of (x, y, z) [rad]; a relaxed arm hangs, an elbow and a knee are slightly bent. Others: zero.
_MEANS = {"left_shoulder": (0.0, 0.0, -1.0), "left_elbow": (0.0, -0.35, 0.0), "left_knee": (0.15, 0.0, 0.0)}

# joint: sigma of (x, y, z) [rad]
_SIGMAS = {
    "pelvis": (50.0, 50.0, 50.0),
    "spine1": (0.2, 0.2, 0.15),
    "spine2": (0.2, 0.2, 0.15),
    "spine3": (0.2, 0.2, 0.15),
    "neck": (0.35, 0.4, 0.25),
    "head": (0.35, 0.4, 0.25),
    "left_collar": (0.12, 0.15, 0.15),
    "left_shoulder": (0.8, 0.9, 0.9),
    "left_elbow": (0.5, 0.9, 0.1),
    "left_wrist": (0.25, 0.35, 0.35),
    "left_hip": (0.8, 0.35, 0.4),
    "left_knee": (0.8, 0.12, 0.06),
    "left_ankle": (0.3, 0.2, 0.15),
    "left_foot": (0.03, 0.03, 0.03),
}

# joint: lower and upper bounds of (x, y, z) [rad]
_LIMITS = {
    "left_elbow": ((-1.2, -2.6, -0.2), (1.2, 0.0, 0.2)),
    "left_hip": ((-2.3, -0.9, -0.9), (0.7, 0.9, 0.9)),
    "left_knee": ((0.0, -0.3, -0.15), (2.6, 0.3, 0.15)),
    "left_ankle": ((-0.7, -0.5, -0.4), (0.9, 0.5, 0.4)),
}
_UNBOUNDED = ((-10.0,) * 3, (10.0,) * 3)
_LIMIT_SIGMA_RAD = 0.05


def anatomy_of(body: BodyModel, strength: float) -> Anatomy:
    """The table in the body's joint order; `strength` multiplies the squared prior terms (not the limits).

    Raises:
        ValueError: the body's first 22 joints are not those of SMPL, by name.
    """
    names = body.joint_names[:NUM_JOINTS]
    missing = sorted(set(_SIGMAS) - set(names))
    if missing or len(names) < NUM_JOINTS:
        raise ValueError(f"body {body.name!r}: expected SMPL's joint names among the first {NUM_JOINTS}, missing {missing}")
    means = np.stack([_mirrored(name, _MEANS.get(_left(name), (0.0, 0.0, 0.0))) for name in names])
    sigmas = np.stack([np.asarray(_SIGMAS[_left(name)], dtype=np.float64) for name in names])
    bounds = [[_mirrored(name, bound) for bound in _LIMITS.get(_left(name), _UNBOUNDED)] for name in names]
    lower, upper = np.min(bounds, axis=1), np.max(bounds, axis=1)  # mirroring swaps them where it changes the sign
    return Anatomy(means, sigmas / np.sqrt(strength), lower, upper, _LIMIT_SIGMA_RAD)


def _left(name: str) -> str:
    return name.replace("right_", "left_")


def _mirrored(name: str, left_value: tuple[float, ...]) -> Float[np.ndarray, "3"]:
    value = np.asarray(left_value, dtype=np.float64)
    return value * (1.0, -1.0, -1.0) if name.startswith("right_") else value
