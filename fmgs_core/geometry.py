"""Rotations, rigid transforms and triangle frames. Batched, differentiable where torch; conventions of CONVENTIONS.md."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_EPS = 1e-12


def hat(v: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Cross-product matrix: hat(v) @ x = v x x."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def rotation_from_axis_angle(axis_angle: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rodrigues' formula; the gradient at zero is finite because the norm is sqrt(x.x + eps)."""
    angle = torch.sqrt((axis_angle * axis_angle).sum(-1, keepdim=True) + _EPS)
    K = hat(axis_angle / angle)
    s, c = torch.sin(angle)[..., None], torch.cos(angle)[..., None]
    return torch.eye(3, dtype=K.dtype, device=K.device) + s * K + (1 - c) * (K @ K)


def rotation_from_quaternion(quat: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """wxyz, normalised here."""
    w, x, y, z = torch.nn.functional.normalize(quat, dim=-1).unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def third_axis(quat: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3"]:
    """Third column of the rotation of a unit quaternion, wxyz: a splat's normal."""
    w, x, y, z = quat.unbind(-1)
    return torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1)


def quaternion_from_rotation(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """wxyz of unit length. Of the four equivalent formulas the one with the largest divisor is taken, so that it is
    differentiable everywhere."""
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    a, b, c = R[..., 2, 1], R[..., 0, 2], R[..., 1, 0]
    d, e, f = R[..., 1, 2], R[..., 2, 0], R[..., 0, 1]
    candidates = torch.stack([
        torch.stack([1 + m00 + m11 + m22, a - d, b - e, c - f], -1),
        torch.stack([a - d, 1 + m00 - m11 - m22, c + f, b + e], -1),
        torch.stack([b - e, c + f, 1 - m00 + m11 - m22, a + d], -1),
        torch.stack([c - f, b + e, a + d, 1 - m00 - m11 + m22], -1),
    ], -2)  # fmt: skip
    best = torch.diagonal(candidates.detach(), dim1=-2, dim2=-1).argmax(-1)
    picked = torch.take_along_dim(candidates, best[..., None, None], dim=-2)[..., 0, :]
    return torch.nn.functional.normalize(picked, dim=-1)


def orthonormalized(M: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation nearest in the sense of Gram-Schmidt that keeps the third column's direction (a splat's normal)."""
    n = torch.nn.functional.normalize(M[..., 2], dim=-1)
    u = M[..., 0] - (M[..., 0] * n).sum(-1, keepdim=True) * n
    u = torch.nn.functional.normalize(u, dim=-1)
    return torch.stack([u, torch.linalg.cross(n, u), n], -1)


def triangle_frames(triangles: Float[Tensor, "*b 3 3"]) -> tuple[Float[Tensor, "*b 3 3"], Float[Tensor, " *b"]]:
    """Frames [t_u, t_v, n] as columns and areas [m^2] of triangles given as vertex rows (FMGS-Avatar sec. 3.1).

    t_u runs along the first edge, n is the outward normal of counter-clockwise vertices. Degenerate triangles give
    finite, meaningless frames and area zero.
    """
    e1, e2 = triangles[..., 1, :] - triangles[..., 0, :], triangles[..., 2, :] - triangles[..., 0, :]
    cross = torch.linalg.cross(e1, e2)
    u = torch.nn.functional.normalize(e1, dim=-1)
    n = torch.nn.functional.normalize(cross, dim=-1)
    return torch.stack([u, torch.linalg.cross(n, u), n], -1), 0.5 * cross.norm(dim=-1)


def rigid(R: Float[np.ndarray, "3 3"], t: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """Homogeneous matrix of x -> R x + t."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


def rigid_inverse(T: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """Inverse of a rigid transform, without a matrix inversion."""
    return rigid(T[:3, :3].T, -T[:3, :3].T @ T[:3, 3])


def look_at(eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """T_camera_world of an OpenCV camera at `eye` that looks at `target`, with world +y up in the picture.

    Raises:
        ValueError: `target` is `eye`, or straight above or below it.
    """
    distance = np.linalg.norm(target - eye)
    forward = (target - eye) / max(distance, _EPS)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    if not distance > 0 or np.linalg.norm(right) < 1e-6:
        raise ValueError(f"look_at: expected a view that is not straight up or down, got eye={eye}, target={target}")
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return rigid(R, -R @ eye)
