"""Rotations in compiled code: exponential, logarithm and the Jacobian between them. float64, right perturbations."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def exp_so3(w):
    """Rotation matrix of axis-angle w (3,) [rad], Rodrigues' formula."""
    x, y, z = w[0], w[1], w[2]
    angle = np.sqrt(x * x + y * y + z * z)
    if angle < 1e-8:
        a, b = 1.0, 0.5
    else:
        a, b = np.sin(angle) / angle, (1.0 - np.cos(angle)) / (angle * angle)
    R = np.empty((3, 3))
    R[0, 0], R[0, 1], R[0, 2] = 1.0 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y
    R[1, 0], R[1, 1], R[1, 2] = b * x * y + a * z, 1.0 - b * (x * x + z * z), b * y * z - a * x
    R[2, 0], R[2, 1], R[2, 2] = b * x * z - a * y, b * y * z + a * x, 1.0 - b * (x * x + y * y)
    return R


@njit(cache=True, nogil=True)
def log_so3(R):
    """Axis-angle (3,) of a rotation matrix, angle in [0, pi]."""
    c = min(1.0, max(-1.0, 0.5 * (R[0, 0] + R[1, 1] + R[2, 2] - 1.0)))
    v = np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]])
    angle = np.arctan2(0.5 * np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), c)
    if angle < 1e-6:
        return 0.5 * v
    if angle < 3.1:
        return v * (0.5 * angle / np.sin(angle))
    return _log_near_pi(R, v, angle)


@njit(cache=True, nogil=True)
def _log_near_pi(R, v, angle):
    """There v vanishes, so the axis comes from the symmetric part: R + R' = 2 (c I + (1 - c) a a')."""
    c = np.cos(angle)
    i = 0
    for k in range(1, 3):
        if R[k, k] > R[i, i]:
            i = k
    axis = np.empty(3)
    for k in range(3):
        axis[k] = 0.5 * (R[i, k] + R[k, i])
    axis[i] -= c
    axis /= np.sqrt((axis * axis).sum())
    if (axis * v).sum() < 0.0:
        axis = -axis
    return axis * angle


@njit(cache=True, nogil=True)
def right_jacobian_inverse(w):
    """d log(exp(w) exp(d)) / d d at d = 0, (3, 3)."""
    x, y, z = w[0], w[1], w[2]
    square = x * x + y * y + z * z
    if square < 1e-8:
        b = 1.0 / 12.0
    else:
        angle = np.sqrt(square)
        # (1 + cos) / sin = cot(angle / 2), which stays finite at pi.
        b = 1.0 / square - 1.0 / (2.0 * angle * np.tan(0.5 * angle))
    J = np.empty((3, 3))
    J[0, 0], J[0, 1], J[0, 2] = 1.0 - b * (y * y + z * z), b * x * y - 0.5 * z, b * x * z + 0.5 * y
    J[1, 0], J[1, 1], J[1, 2] = b * x * y + 0.5 * z, 1.0 - b * (x * x + z * z), b * y * z - 0.5 * x
    J[2, 0], J[2, 1], J[2, 2] = b * x * z - 0.5 * y, b * y * z + 0.5 * x, 1.0 - b * (x * x + y * y)
    return J
