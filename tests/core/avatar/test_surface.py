"""The avatar's surface as a mesh. Kinds: closed form, property."""

import numpy as np
import pytest
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.surface import surface_mesh
from fmgs_core.body.default import default_body

from .bodies import RINGS, SEGMENTS, tube

CAPS = [RINGS * SEGMENTS, RINGS * SEGMENTS + 1]  # vertices that no kept face touches


def test_without_offsets_it_is_the_shaped_rest_mesh():
    body = default_body()
    betas = np.linspace(-1, 1, 16).astype(np.float32)
    vertices, faces = surface_mesh(Avatar(body), betas)
    np.testing.assert_allclose(vertices, body.v_template + body.shapedirs @ betas, atol=1e-6)
    np.testing.assert_array_equal(faces, body.faces[body.kept_faces])


def test_an_offset_thickens_a_tube_by_itself():
    """Vertices between the rims move radially by exactly the offset; cap centres, which no Gaussian covers, stay."""
    body = tube()
    avatar = Avatar(body)
    avatar.set_surface_offset(torch.full((body.num_vertices,), 0.05))
    vertices, _ = surface_mesh(avatar, np.zeros(2, np.float32))
    inner = slice(SEGMENTS, (RINGS - 1) * SEGMENTS)
    radius = np.hypot(vertices[inner, 0], vertices[inner, 2])
    np.testing.assert_allclose(radius, 0.15, atol=1e-5)
    np.testing.assert_allclose(vertices[inner, 1], body.v_template[inner, 1], atol=1e-5)
    np.testing.assert_array_equal(vertices[CAPS], body.v_template[CAPS])


def test_a_vertex_takes_the_mean_of_its_own_faces_offsets():
    body = tube()
    avatar = Avatar(body)
    with torch.no_grad():
        avatar.field.normal_offset[7] = 0.06
    vertices, faces = surface_mesh(avatar, np.zeros(2, np.float32))
    moved = np.linalg.norm(vertices - body.v_template, axis=1)
    around = np.bincount(faces.ravel(), minlength=len(vertices))
    for vertex in range(len(vertices)):
        expected = 0.06 / around[vertex] if vertex in faces[7] else 0.0
        assert moved[vertex] == pytest.approx(expected, abs=1e-7)
