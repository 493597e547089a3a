"""An avatar in its T-pose as a file that other programs open."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.surface import surface_mesh
from fmgs_core.export.glb import write_glb
from fmgs_core.export.ply import write_ply

ENDINGS = (".ply", ".glb")


def write_avatar(path: Path, avatar: Avatar) -> None:
    """Gaussians in the layout of 3D Gaussian Splatting (.ply) or a coloured mesh (.glb); the folder is made when missing.

    Raises:
        ValueError: another ending.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"out: expected a file name ending in .ply or .glb, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".ply":
        write_ply(path, avatar.drawn(avatar.body.neutral_state()))
        return
    vertices, faces = surface_mesh(avatar, avatar.betas)
    write_glb(path, vertices, faces, vertex_colors(avatar, len(vertices)))


def vertex_colors(avatar: Avatar, num_vertices: int) -> Float[np.ndarray, "V 3"]:
    """Mean colour of the faces around each vertex, in [0, 1]."""
    faces = avatar.faces.numpy().ravel()
    colors = np.repeat(avatar.at_rest().color.numpy(), 3, axis=0)
    sums = np.stack([np.bincount(faces, colors[:, k], minlength=num_vertices) for k in range(3)], 1)
    return sums / np.maximum(np.bincount(faces, minlength=num_vertices), 1)[:, None]
