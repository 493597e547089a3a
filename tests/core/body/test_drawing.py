"""Parity of the z-buffer with ray casting, and its behaviour at edges, near plane and poisoned vertices."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.body.drawing import MeshDrawing, draw_mesh
from fmgs_core.geometry import look_at
from fmgs_core.types import Camera

SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float64)
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def _camera(eye: tuple[float, float, float], size: int = 48, focal: float = 60.0) -> Camera:
    K = np.array([[focal, 0, size / 2 + 0.3], [0, 1.1 * focal, size / 2 - 0.2], [0, 0, 1]])
    return Camera(K, size, size - 5, look_at(np.array(eye), np.zeros(3)))


def _ray_cast(vertices: np.ndarray, faces: np.ndarray, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face, camera z and weights of vertices 1, 2 by solving origin + z ray = triangle at every pixel centre."""
    p = vertices @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    face = np.full((camera.height, camera.width), -1)
    depth = np.full(face.shape, np.inf)
    weights = np.full((*face.shape, 2), np.nan)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.K).T
    for f, (i, j, k) in enumerate(faces):
        columns_of_system = np.stack(np.broadcast_arrays(rays, p[i] - p[j], p[i] - p[k]), -1)
        z, w1, w2 = np.moveaxis(np.linalg.solve(columns_of_system, np.broadcast_to(p[i], rays.shape)[..., None])[..., 0], -1, 0)
        hit = (w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1) & (z > 0) & (z < depth)
        face[hit], depth[hit], weights[hit] = f, z[hit], np.stack([w1, w2], -1)[hit]
    return face, np.where(face < 0, np.nan, depth), weights


def _assert_empty_is_marked(drawing: MeshDrawing) -> None:
    empty = drawing.face < 0
    assert np.isnan(drawing.depth[empty]).all() and np.isnan(drawing.barycentric[empty]).all()
    assert np.isfinite(drawing.depth[~empty]).all() and np.isfinite(drawing.barycentric[~empty]).all()


@pytest.mark.parametrize("seed", range(3))
def test_parity_with_ray_casting(seed: int):
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-1, 1, (48, 3))
    faces = rng.permutation(48).reshape(16, 3)
    camera = _camera((0.7, 0.9, 3.0))
    drawing = draw_mesh(vertices, faces, camera)
    face, depth, weights = _ray_cast(vertices, faces, camera)
    same = drawing.face == face
    assert same.mean() > 0.999 and (face >= 0).mean() > 0.2, "pixels exactly on an edge may go either way"
    # 0.1 mm at 3 m is the unit of the stored depth; float32 is finer
    np.testing.assert_allclose(drawing.depth[same], depth[same], atol=1e-5)
    np.testing.assert_allclose(drawing.barycentric[same], weights[same], atol=1e-5)
    _assert_empty_is_marked(drawing)


def test_the_surface_point_of_a_pixel_projects_to_its_centre():
    body, camera = default_body(), Camera(np.array([[150.0, 0, 64], [0, 150, 64], [0, 0, 1]]), 128, 128, look_at(*_front()))
    drawing = draw_mesh(body.v_template, body.faces, camera)
    seen = drawing.face >= 0
    triangles = body.v_template[body.faces[drawing.face[seen]]].astype(np.float64)
    w = drawing.barycentric[seen].astype(np.float64)
    points = np.einsum("nk,nkd->nd", np.stack([1 - w.sum(1), w[:, 0], w[:, 1]], 1), triangles)
    rows, columns = np.nonzero(seen)
    np.testing.assert_allclose(camera.project(points), np.stack([columns, rows], 1) + 0.5, atol=1e-3)
    z = points @ camera.T_camera_world[2, :3] + camera.T_camera_world[2, 3]
    np.testing.assert_allclose(drawing.depth[seen], z, atol=1e-5)
    assert 0.05 < seen.mean() < 0.5


def _front() -> tuple[np.ndarray, np.ndarray]:
    return np.array([0.2, 0.3, 2.6]), np.zeros(3)


def test_shared_edges_leave_no_gap():
    rng = np.random.default_rng(0)
    n = 20
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    inner = (np.abs(x) < 0.99) & (np.abs(y) < 0.99)
    x, y = (a + inner * rng.uniform(-0.04, 0.04, a.shape) for a in (x, y))
    vertices = np.stack([x, y, rng.uniform(-0.2, 0.2, x.shape)], -1).reshape(-1, 3)
    corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + n], 1), np.stack([corner + 1, corner + n + 1, corner + n], 1)]
    )
    for size in (32, 101, 256):
        drawing = draw_mesh(vertices, faces, _camera((0.1, 0.2, 2.0), size, focal=1.5 * size))
        middle = drawing.face[size // 3 : -size // 3, size // 3 : -size // 3]
        assert (middle >= 0).all()


def test_pixel_centres_are_at_one_half():
    K = np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1]])
    camera = Camera(K, 4, 4, np.eye(4))
    vertices = np.array([[0.9, 0.9, 1], [2.1, 0.9, 1], [2.1, 2.1, 1], [0.9, 2.1, 1]])
    seen = draw_mesh(vertices, SQUARE_FACES, camera).face >= 0
    expected = np.zeros((4, 4), bool)
    expected[1, 1] = True
    np.testing.assert_array_equal(seen, expected)


def test_nearer_face_wins_whatever_the_order():
    far = SQUARE - [0, 0, 1]
    camera = _camera((0, 0, 3.0))
    for stack, nearer in ((np.concatenate([SQUARE, far]), 0), (np.concatenate([far, SQUARE]), 2)):
        drawing = draw_mesh(stack, np.concatenate([SQUARE_FACES, SQUARE_FACES + 4]), camera)
        centre = drawing.face[20, 24]
        assert centre in (nearer, nearer + 1) and drawing.depth[20, 24] == pytest.approx(3.0, abs=1e-5)


def test_faces_at_equal_depth_go_to_the_lower_index():
    drawing = draw_mesh(SQUARE, np.concatenate([SQUARE_FACES, SQUARE_FACES]), _camera((0, 0, 3.0)))
    assert drawing.face.max() == 1


def test_both_sides_are_drawn():
    front = draw_mesh(SQUARE, SQUARE_FACES, _camera((0, 0, 3.0))).face >= 0
    flipped = draw_mesh(SQUARE, SQUARE_FACES[:, ::-1], _camera((0, 0, 3.0))).face >= 0
    assert front.any()
    np.testing.assert_array_equal(front, flipped)


def test_faces_through_the_near_plane_are_skipped_whole():
    through = np.concatenate([SQUARE, [[0, 0, 5.0]]])
    faces = np.concatenate([SQUARE_FACES, [[0, 1, 4]]])
    drawing = draw_mesh(through, faces, _camera((0, 0, 3.0)))
    assert set(np.unique(drawing.face)) <= {-1, 0, 1}


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e308, 1e-308])
def test_poisoned_vertices_only_lose_their_own_faces(poison: float):
    vertices = np.concatenate([SQUARE, [[poison, poison, poison]]])
    drawing = draw_mesh(vertices, np.concatenate([SQUARE_FACES, [[0, 1, 4]]]), _camera((0, 0, 3.0)))
    clean = draw_mesh(SQUARE, SQUARE_FACES, _camera((0, 0, 3.0)))
    own = clean.face >= 0
    np.testing.assert_allclose(drawing.depth[own], clean.depth[own], rtol=1e-6)
    _assert_empty_is_marked(drawing)


def test_degenerate_faces_and_empty_meshes_draw_nothing():
    camera = _camera((0, 0, 3.0))
    assert (draw_mesh(SQUARE, np.array([[0, 0, 1], [0, 1, 1]]), camera).face == -1).all()
    assert (draw_mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64), camera).face == -1).all()


def test_faces_outside_the_picture_do_not_wrap_around():
    shifted = replace(_camera((0, 0, 3.0)), T_camera_world=look_at(np.array([9.0, 0, 3]), np.array([9.0, 0, 0])))
    assert (draw_mesh(SQUARE, SQUARE_FACES, shifted).face == -1).all()


def test_repeated_drawings_are_equal_bit_for_bit():
    body, camera = default_body(), _camera((0.5, 0.2, 2.5), 200, 250)
    first, second = (draw_mesh(body.v_template, body.faces, camera) for _ in range(2))
    assert first.face.tobytes() == second.face.tobytes()
    assert first.depth.tobytes() == second.depth.tobytes()
    assert first.barycentric.tobytes() == second.barycentric.tobytes()


def test_no_hole_opens_where_the_cavities_were():
    """Seen from the front, everything kept covers what the whole body covers, and at most a slit between the lips is deeper."""
    body = default_body()
    head = np.array([0.0, 0.72, 0.08])
    camera = Camera(
        np.array([[1400.0, 0, 200], [0, 1400, 200], [0, 0, 1]]), 400, 400, look_at(head + np.array([0, 0, 1.2]), head)
    )
    whole = draw_mesh(body.v_template, body.faces, camera)
    kept = draw_mesh(body.v_template, body.faces[body.kept_faces], camera)
    np.testing.assert_array_equal(kept.face >= 0, whole.face >= 0)
    # deeper than 5 mm means looking into the head: less than 0.1 % of the face's pixels
    assert (np.nan_to_num(kept.depth - whole.depth) > 5e-3).sum() < 1e-3 * (whole.face >= 0).sum()
