"""The avatar's surface as a triangle mesh in the rest pose."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.skinning import vertex_normals


def surface_mesh(avatar: Avatar, betas: Float[np.ndarray, " B"]) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "K 3"]]:
    """T-pose vertices [m] and the kept faces: each vertex is moved along its normal by the mean offset of its faces, or, where
    Gaussians are not bound to faces, by the mean of their displacements."""
    body, said = avatar.body, avatar.at_rest()
    rest = (body.v_template + body.shapedirs @ betas).astype(np.float32)
    if said.tangent_offset is None:
        moved = vertex_normals(rest, body.faces) * _vertex_means(avatar, said.normal_offset[:, None])
    else:
        frames, offset = avatar.binding.frames, torch.cat([said.tangent_offset, said.normal_offset[:, None]], -1)
        moved = _vertex_means(avatar, (frames @ offset[..., None])[..., 0])
    return rest + moved, avatar.faces.numpy()


def _vertex_means(avatar: Avatar, values: Float[Tensor, "K c"]) -> Float[np.ndarray, "V c"]:
    """Of a value per kept face over the faces around each vertex; zero where there is none."""
    corners, per_corner = avatar.faces.numpy().ravel(), np.repeat(values.numpy(), 3, axis=0)
    size = avatar.body.num_vertices
    total = np.stack([np.bincount(corners, column, minlength=size) for column in per_corner.T], -1)
    return (total / np.maximum(np.bincount(corners, minlength=size), 1)[:, None]).astype(np.float32)
