"""The avatar's surface as a triangle mesh in the rest pose."""

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.skinning import vertex_normals


def surface_mesh(avatar: Avatar, betas: Float[np.ndarray, " B"]) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "K 3"]]:
    """T-pose vertices [m] and the kept faces: each vertex is moved along its normal by the mean offset of its faces."""
    body, faces = avatar.body, avatar.faces.numpy()
    rest = (body.v_template + body.shapedirs @ betas).astype(np.float32)
    offsets = np.repeat(avatar.at_rest().normal_offset.numpy(), 3)
    total = np.bincount(faces.ravel(), offsets, minlength=len(rest))
    count = np.bincount(faces.ravel(), minlength=len(rest))
    return rest + vertex_normals(rest, body.faces) * (total / np.maximum(count, 1)).astype(np.float32)[:, None], faces
