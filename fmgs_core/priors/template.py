"""Normals, depth and part labels of the fitted body itself: a weak prior that needs no model and is always there."""

import numpy as np
from jaxtyping import Float

from fmgs_core.body.drawing import MeshDrawing, draw_mesh
from fmgs_core.body.parts import clothed_labels
from fmgs_core.body.skinning import posed_vertices, vertex_normals
from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState, Camera, PriorMaps

LABEL_SET = "sapiens28"
# A naked average body under somebody's clothes: right about the limbs' direction, wrong about every fold and hem. Its
# losses keep the surface from collapsing where nothing better is known, and must lose against any real prediction.
TEMPLATE_TRUST = 0.1
# Interpolated normals turn away from the camera at the outline; they are stopped short of edge-on.
_MIN_FACING = 1e-3


def template_maps(body: BodyModel, state: BodyState, camera: Camera, *, trust: float = TEMPLATE_TRUST) -> PriorMaps:
    """Maps of the picture's size with mask and keypoints absent: the body's outline says nothing about the clothed one.

    Depth is the body's camera z [m]. Outside the body all is unknown: NaN, zeros, 255.
    """
    vertices = posed_vertices(body, state)
    drawing = draw_mesh(vertices, body.faces, camera)
    seen = drawing.face >= 0
    labels = np.full(seen.shape, 255, np.uint8)
    labels[seen] = clothed_labels(body)[drawing.face[seen]]
    return PriorMaps(
        normal=_camera_normals(vertex_normals(vertices, body.faces), body, drawing, camera),
        depth=drawing.depth,
        labels=labels,
        label_set=LABEL_SET,
        geometry_trust=trust,
    )


def _camera_normals(
    normals_world: Float[np.ndarray, "V 3"], body: BodyModel, drawing: MeshDrawing, camera: Camera
) -> Float[np.ndarray, "h w 3"]:
    """Vertex normals interpolated over the faces, in camera axes, unit, z below zero; zeros where nothing is seen."""
    seen = drawing.face >= 0
    corners = (normals_world @ camera.T_camera_world[:3, :3].T)[body.faces[drawing.face[seen]]]
    w = drawing.barycentric[seen]
    normal = corners[:, 0] + w[:, :1] * (corners[:, 1] - corners[:, 0]) + w[:, 1:] * (corners[:, 2] - corners[:, 0])
    normal[:, 2] = np.minimum(normal[:, 2], -_MIN_FACING)
    out = np.zeros((*seen.shape, 3), np.float32)
    out[seen] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return out
