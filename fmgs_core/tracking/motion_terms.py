"""Slow motion as terms between the poses of consecutive frames, and the banded system of many frames that they tie together.

Rows are rho(e) = log(1 + e^2) (Cauchy) of a joint's turn, and of the root's way, in sigmas: a joint that rests is held as
one over all frames that see it, from whatever side, while one that moves pays little for moving.
"""

import numpy as np
from numba import njit

from fmgs_core.tracking.kinematics import TRANSL
from fmgs_core.tracking.so3 import log_so3, right_jacobian_inverse


@njit(cache=True, nogil=True)
def add_motion_terms(rotations, roots, cameras, sigmas, root_sigmas, diagonal, coupling, gradient):
    """Adds the terms' Gauss-Newton system to H's blocks and to g = J' r; returns their cost.

    Args:
        rotations: (n, 22, 3, 3) relative to the parent, the root's in the world; unknowns are right perturbations.
        roots: (n, 3) in the world [m].
        cameras: (n, 3, 3) rotations T_camera_world; the root's unknowns are a step in camera axes.
        sigmas: (n - 1, 22) [rad]; infinite where two frames are not tied together.
        root_sigmas: (n - 1,) [m], likewise.
        diagonal, coupling: (n, N, N) and (n - 1, N, N), H's blocks (k, k) and (k, k + 1).
        gradient: (n, N).
    """
    cost = 0.0
    for k in range(len(rotations) - 1):
        if not np.isfinite(root_sigmas[k]):
            continue
        for j in range(rotations.shape[1]):
            turn = rotations[k, j].T @ rotations[k + 1, j]
            r = log_so3(turn) / sigmas[k, j]
            square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
            weight = 1.0 / (1.0 + square)
            cost += np.log1p(square)
            after = right_jacobian_inverse(r * sigmas[k, j]) / sigmas[k, j]
            before = -after @ turn.T
            a = slice(3 * j, 3 * j + 3)
            diagonal[k, a, a] += weight * (before.T @ before)
            diagonal[k + 1, a, a] += weight * (after.T @ after)
            coupling[k, a, a] += weight * (before.T @ after)
            gradient[k, a] += weight * (before.T @ r)
            gradient[k + 1, a] += weight * (after.T @ r)
        r = (roots[k + 1] - roots[k]) / root_sigmas[k]
        square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
        weight = 1.0 / (1.0 + square)
        cost += np.log1p(square)
        a = slice(TRANSL, TRANSL + 3)
        information = weight / root_sigmas[k] ** 2
        diagonal[k, a, a] += information * np.eye(3)
        diagonal[k + 1, a, a] += information * np.eye(3)
        coupling[k, a, a] -= information * (cameras[k] @ cameras[k + 1].T)
        gradient[k, a] -= weight / root_sigmas[k] * (cameras[k] @ r)
        gradient[k + 1, a] += weight / root_sigmas[k] * (cameras[k + 1] @ r)
    return cost


@njit(cache=True, nogil=True)
def lower_band(diagonal, coupling, damping):
    """H with Marquardt's damping as the lower band (2 N, n N) that scipy.linalg.solveh_banded takes."""
    count, size = diagonal.shape[:2]
    band = np.zeros((2 * size, count * size))
    for k in range(count):
        for c in range(size):
            column = k * size + c
            for r in range(c, size):
                band[r - c, column] = diagonal[k, r, c]
            band[0, column] = band[0, column] * (1.0 + damping) + 1e-9
            if k + 1 < count:
                for r in range(size):
                    band[size + r - c, column] = coupling[k, c, r]
    return band
