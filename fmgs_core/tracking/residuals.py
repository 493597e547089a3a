"""The residuals of the tracker. Each fills its rows r (m,) and J (m, unknowns), already divided by their sigma.

Columns that a residual does not touch are set to zero too, so the buffers need no clearing between calls. The objective
is the list in solver.py; equations are those of the Gauss-Newton literature, weights live in the configuration.
"""

import numpy as np
from numba import njit

from fmgs_core.tracking.kinematics import BETAS, TRANSL
from fmgs_core.tracking.so3 import log_so3, right_jacobian_inverse

# Points nearer to the camera than this are pushed back to it: a Newton step may throw the body behind the camera.
NEAR_M = 0.1


@njit(cache=True, nogil=True)
def reprojection(points, jacobians, targets, intrinsics, sigma_px, r, J):
    """(projected - detected) / sigma, two rows a point."""
    fx, fy, cx, cy = intrinsics
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], max(points[i, 2], NEAR_M)
        r[2 * i] = (fx * x / z + cx - targets[i, 0]) / sigma_px
        r[2 * i + 1] = (fy * y / z + cy - targets[i, 1]) / sigma_px
        a, b = fx / (z * sigma_px), fy / (z * sigma_px)
        for n in range(J.shape[1]):
            J[2 * i, n] = a * (jacobians[i, 0, n] - x / z * jacobians[i, 2, n])
            J[2 * i + 1, n] = b * (jacobians[i, 1, n] - y / z * jacobians[i, 2, n])


@njit(cache=True, nogil=True)
def bone_directions(points, jacobians, bones, directions, sigmas, r, J):
    """(unit bone - detected direction) / sigma, three rows a bone.

    The betas are left out on purpose: proportions must not be bent to fix a wrong detected depth.
    """
    unit, along = np.empty(3), 0.0
    for i in range(len(bones)):
        a, b = bones[i, 0], bones[i, 1]
        length = 1e-9
        for c in range(3):
            unit[c] = points[b, c] - points[a, c]
            length += unit[c] * unit[c]
        length = np.sqrt(length)
        for c in range(3):
            unit[c] /= length
            r[3 * i + c] = (unit[c] - directions[i, c]) / sigmas[i]
        for n in range(J.shape[1]):
            if n >= BETAS:
                J[3 * i, n] = J[3 * i + 1, n] = J[3 * i + 2, n] = 0.0
                continue
            along = 0.0
            for c in range(3):
                along += unit[c] * (jacobians[b, c, n] - jacobians[a, c, n])
            for c in range(3):
                J[3 * i + c, n] = (jacobians[b, c, n] - jacobians[a, c, n] - along * unit[c]) / (length * sigmas[i])


@njit(cache=True, nogil=True)
def contour_distance(points, jacobians, normals, targets, intrinsics, sigma_px, r, J):
    """Distance of the projected points to the mask's contour along its outward normals / sigma, one row a point."""
    fx, fy, cx, cy = intrinsics
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], max(points[i, 2], NEAR_M)
        nx, ny = normals[i, 0], normals[i, 1]
        r[i] = (nx * (fx * x / z + cx - targets[i, 0]) + ny * (fy * y / z + cy - targets[i, 1])) / sigma_px
        dx, dy = nx * fx / (z * sigma_px), ny * fy / (z * sigma_px)
        dz = -(dx * x + dy * y) / z
        for n in range(J.shape[1]):
            J[i, n] = dx * jacobians[i, 0, n] + dy * jacobians[i, 1, n] + dz * jacobians[i, 2, n]


@njit(cache=True, nogil=True)
def pose_prior(rotations, means, sigmas, r, J):
    """(log R_j - mean_j) / sigma_j, three rows a joint; axis-angle is good enough away from pi, where no joint goes."""
    J[:] = 0.0
    for j in range(len(rotations)):
        w = log_so3(rotations[j])
        D = right_jacobian_inverse(w)
        for c in range(3):
            r[3 * j + c] = (w[c] - means[j, c]) / sigmas[j, c]
            for a in range(3):
                J[3 * j + c, 3 * j + a] = D[c, a] / sigmas[j, c]


@njit(cache=True, nogil=True)
def joint_limits(rotations, lower, upper, sigma, r, J):
    """How far log R_j lies outside [lower_j, upper_j] / sigma, three rows a joint; zero inside."""
    J[:] = 0.0
    for j in range(len(rotations)):
        w = log_so3(rotations[j])
        D = right_jacobian_inverse(w)
        for c in range(3):
            excess = min(w[c] - lower[j, c], 0.0) + max(w[c] - upper[j, c], 0.0)
            r[3 * j + c] = excess / sigma
            if excess != 0.0:
                for a in range(3):
                    J[3 * j + c, 3 * j + a] = D[c, a] / sigma


@njit(cache=True, nogil=True)
def pose_smoothness(rotations, predicted, sigmas, r, J):
    """log(predicted_j' R_j) / sigma_j, three rows a joint."""
    J[:] = 0.0
    for j in range(len(rotations)):
        w = log_so3(predicted[j].T @ rotations[j])
        D = right_jacobian_inverse(w)
        for c in range(3):
            r[3 * j + c] = w[c] / sigmas[j]
            for a in range(3):
                J[3 * j + c, 3 * j + a] = D[c, a] / sigmas[j]


@njit(cache=True, nogil=True)
def translation_smoothness(transl, predicted, sigmas, r, J):
    """(transl - predicted) / sigma per axis, three rows."""
    J[:] = 0.0
    for c in range(3):
        r[c] = (transl[c] - predicted[c]) / sigmas[c]
        J[c, TRANSL + c] = 1.0 / sigmas[c]


@njit(cache=True, nogil=True)
def shape_prior(betas, mean, root_information, r, J):
    """C' (betas - mean) with C C' the information matrix (C lower triangular), one row a coefficient."""
    J[:] = 0.0
    for k in range(len(betas)):
        r[k] = 0.0
        for b in range(len(betas)):
            r[k] += root_information[b, k] * (betas[b] - mean[b])
            J[k, BETAS + b] = root_information[b, k]


@njit(cache=True, nogil=True)
def robustify(r, J, rows, weights, huber):
    """Scales each group of `rows` rows by the root of weight x Huber weight of its norm, in place; returns the cost.

    The cost is sum w rho(e) with rho(e) = e^2 up to `huber` and 2 huber e - huber^2 beyond.
    """
    cost = 0.0
    for i in range(len(weights)):
        square = 0.0
        for k in range(rows * i, rows * i + rows):
            square += r[k] * r[k]
        e, w = np.sqrt(square), weights[i]
        if e > huber:
            cost += w * (2.0 * huber * e - huber * huber)
            w *= huber / e
        else:
            cost += w * square
        root = np.sqrt(w)
        for k in range(rows * i, rows * i + rows):
            r[k] *= root
            J[k] *= root
    return cost
