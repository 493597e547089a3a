"""Forward kinematics of the 22 body joints, and how points that ride on them move with every unknown.

The unknowns of the solver are stacked as [22 rotations (right perturbation of the local rotation), translation, betas].
Hands, jaw and eyes are rigid here, so everything below them belongs to the wrist or the head.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit

from fmgs_core.body.template import BodyModel

NUM_JOINTS = 22
TRANSL = 3 * NUM_JOINTS
BETAS = TRANSL + 3


class BodyPose(NamedTuple):
    """What is solved for, in camera axes: a point x of the rest body in joint 0 lands at R_0 (x - J_0) + J_0 + transl."""

    rotations: Float[np.ndarray, "22 3 3"]
    """Relative to the parent; the first one is T_camera_body's rotation."""
    transl: Float[np.ndarray, "3"]
    betas: Float[np.ndarray, " B"]


class Skeleton(NamedTuple):
    """The 22 body joints of one BodyModel."""

    parents: Int[np.ndarray, "22"]
    carries: Bool[np.ndarray, "22 22"]
    """carries[k, j]: turning joint j moves joint k (j is k or an ancestor of k)."""
    joints: Float[np.ndarray, "22 3"]
    """Rest positions at zero betas [m]."""
    joint_dirs: Float[np.ndarray, "22 3 B"]


class RiderPoints(NamedTuple):
    """Points on the body, each with up to four joints; unused slots have weight zero."""

    rest: Float[np.ndarray, "n 3"]
    """At zero betas [m]."""
    rest_dirs: Float[np.ndarray, "n 3 B"]
    joints: Int[np.ndarray, "n 4"]
    weights: Float[np.ndarray, "n 4"]


def skeleton_of(body: BodyModel, num_betas: int) -> Skeleton:
    """Raises ValueError when the body has fewer than 22 joints or an order in which a child comes before its parent."""
    if body.num_joints < NUM_JOINTS:
        raise ValueError(f"body {body.name!r}: expected at least the {NUM_JOINTS} body joints of SMPL, got {body.num_joints}")
    parents = body.parents[:NUM_JOINTS].astype(np.int64)
    carries = np.eye(NUM_JOINTS, dtype=bool)
    for joint in range(1, NUM_JOINTS):
        carries[joint] |= carries[parents[joint]]
    regressor = body.J_regressor[:NUM_JOINTS].astype(np.float64)
    directions = body.shapedirs[:, :, :num_betas].astype(np.float64)
    joint_dirs = (regressor @ directions.reshape(len(directions), -1)).reshape(NUM_JOINTS, 3, num_betas)
    return Skeleton(parents, carries, regressor @ body.v_template.astype(np.float64), np.ascontiguousarray(joint_dirs))


def owning_joints(parents: Int[np.ndarray, " J"]) -> Int[np.ndarray, " J"]:
    """The body joint that carries each joint of the full skeleton."""
    owners = np.arange(len(parents))
    for joint in range(NUM_JOINTS, len(parents)):
        owners[joint] = owners[parents[joint]]
    return owners


@njit(cache=True, nogil=True)
def shaped_points(points, betas):
    """Rest positions (n, 3) of RiderPoints under betas."""
    shaped = points.rest.copy()
    for i in range(len(shaped)):
        for a in range(3):
            for b in range(len(betas)):
                shaped[i, a] += points.rest_dirs[i, a, b] * betas[b]
    return shaped


@njit(cache=True, nogil=True)
def forward_kinematics(skeleton, pose):
    """Orientations G (22, 3, 3), positions P (22, 3) of the joints in camera axes, and their rest positions (22, 3)."""
    parents = skeleton.parents
    n = len(parents)
    G, P, rest = np.empty((n, 3, 3)), np.empty((n, 3)), skeleton.joints.copy()
    for j in range(n):
        for a in range(3):
            for b in range(len(pose.betas)):
                rest[j, a] += skeleton.joint_dirs[j, a, b] * pose.betas[b]
    for j in range(n):
        p = parents[j]
        for a in range(3):
            if p < 0:
                P[j, a] = rest[j, a] + pose.transl[a]
                G[j, a] = pose.rotations[j, a]
                continue
            P[j, a] = P[p, a]
            for c in range(3):
                P[j, a] += G[p, a, c] * (rest[j, c] - rest[p, c])
                G[j, a, c] = 0.0
                for k in range(3):
                    G[j, a, c] += G[p, a, k] * pose.rotations[j, k, c]
    return G, P, rest


@njit(cache=True, nogil=True)
def joint_shape_jacobian(skeleton, G, num_betas):
    """dP / dbetas (22, 3, B): D_j = D_parent + G_parent d(offset_j)."""
    D = np.empty((len(skeleton.parents), 3, num_betas))
    for j in range(len(D)):
        p = skeleton.parents[j]
        for a in range(3):
            for b in range(num_betas):
                D[j, a, b] = skeleton.joint_dirs[j, a, b] if p < 0 else D[p, a, b]
                if p >= 0:
                    for c in range(3):
                        D[j, a, b] += G[p, a, c] * (skeleton.joint_dirs[j, c, b] - skeleton.joint_dirs[p, c, b])
    return D


@njit(cache=True, nogil=True)
def posed_points(points, skeleton, pose):
    """Camera-frame positions (n, 3) of RiderPoints."""
    G, P, rest_joints = forward_kinematics(skeleton, pose)
    rest = shaped_points(points, pose.betas)
    out = np.zeros((len(rest), 3))
    for i in range(len(rest)):
        for q in range(points.joints.shape[1]):
            w, k = points.weights[i, q], points.joints[i, q]
            if w == 0.0:
                continue
            for a in range(3):
                s = P[k, a]
                for c in range(3):
                    s += G[k, a, c] * (rest[i, c] - rest_joints[k, c])
                out[i, a] += w * s
    return out


@njit(cache=True, nogil=True)
def posed_points_and_jacobian(points, skeleton, pose, jacobian):
    """Positions (n, 3); fills jacobian (n, 3, unknowns).

    For a point p rigid in joint k and a joint j that carries it, dp / dd_j[:, c] = G_j[:, c] x (p - P_j).
    """
    G, P, rest_joints = forward_kinematics(skeleton, pose)
    num_betas = len(pose.betas)
    D = joint_shape_jacobian(skeleton, G, num_betas)
    rest = shaped_points(points, pose.betas)
    out = np.zeros((len(rest), 3))
    jacobian[:] = 0.0
    p, arm = np.empty(3), np.empty(3)
    for i in range(len(rest)):
        for q in range(points.joints.shape[1]):
            w, k = points.weights[i, q], points.joints[i, q]
            if w == 0.0:
                continue
            for a in range(3):
                p[a] = P[k, a]
                for c in range(3):
                    p[a] += G[k, a, c] * (rest[i, c] - rest_joints[k, c])
                out[i, a] += w * p[a]
                for b in range(num_betas):
                    s = D[k, a, b]
                    for c in range(3):
                        s += G[k, a, c] * (points.rest_dirs[i, c, b] - skeleton.joint_dirs[k, c, b])
                    jacobian[i, a, BETAS + b] += w * s
            j = k
            while j >= 0:
                for a in range(3):
                    arm[a] = w * (p[a] - P[j, a])
                for c in range(3):
                    column = 3 * j + c
                    x, y, z = G[j, 0, c], G[j, 1, c], G[j, 2, c]
                    jacobian[i, 0, column] += y * arm[2] - z * arm[1]
                    jacobian[i, 1, column] += z * arm[0] - x * arm[2]
                    jacobian[i, 2, column] += x * arm[1] - y * arm[0]
                j = skeleton.parents[j]
        for a in range(3):
            jacobian[i, a, TRANSL + a] = 1.0
    return out
