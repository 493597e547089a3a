"""Properties of a subdivided body: what must stay does, the count is met, and edges become more even."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.csgraph

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState

BODY = default_body()
KEPT = len(BODY.kept_faces)


@pytest.fixture(scope="module", params=[30_000, 55_000, 100_000])
def finer(request: pytest.FixtureRequest) -> BodyModel:
    return subdivided(BODY, request.param).body


def edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    return np.unique(sides, axis=0, return_counts=True)


def euler_characteristic(faces: np.ndarray) -> int:
    return len(np.unique(faces)) - len(edges(faces)[0]) + len(faces)


def corners(body: BodyModel, faces: np.ndarray | slice = slice(None)) -> np.ndarray:
    return body.v_template.astype(np.float64)[body.faces[faces]]


def area(triangles: np.ndarray) -> np.ndarray:
    a, b, c = triangles.transpose(1, 0, 2)
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def kept_edge_lengths(body: BodyModel) -> np.ndarray:
    t = corners(body, body.kept_faces)
    return np.linalg.norm(t - np.roll(t, -1, 1), axis=-1).ravel()


def smallest_angle(body: BodyModel) -> float:
    t = corners(body, body.kept_faces)
    e = np.roll(t, -1, 1) - t
    e /= np.linalg.norm(e, axis=-1, keepdims=True)
    return np.arccos((-e * np.roll(e, 1, 1)).sum(-1).clip(-1, 1)).min()


def uv_islands(body: BodyModel) -> int:
    assert body.uv is not None and body.uv_faces is not None
    rows, columns = body.uv_faces.ravel(), np.roll(body.uv_faces, -1, 1).ravel()
    graph = scipy.sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(body.uv),) * 2)
    labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    return len(np.unique(labels[np.unique(body.uv_faces)]))


def test_the_count_is_met(finer: BodyModel, request: pytest.FixtureRequest):
    wanted = request.node.callspec.params["finer"]
    assert wanted <= len(finer.kept_faces) <= wanted + 1


def test_it_stays_closed_and_of_one_topology(finer: BodyModel):
    assert (edges(finer.faces)[1] == 2).all(), "every edge has two faces: no vertex hangs on another face's edge"
    assert euler_characteristic(finer.faces) == euler_characteristic(BODY.faces) == 8, "four closed shells"
    assert len(np.unique(finer.faces)) == finer.num_vertices


def test_area_of_every_part_and_volume_stay(finer: BodyModel):
    for part in range(len(BODY.part_names)):
        before, after = (area(corners(b, b.face_part == part)).sum() for b in (BODY, finer))
        assert after == pytest.approx(before, rel=1e-5, abs=1e-12), BODY.part_names[part]
    volumes = [np.linalg.det(corners(b)).sum() for b in (BODY, finer)]
    assert volumes[1] == pytest.approx(volumes[0], rel=1e-5), "faces keep their orientation"


def test_weights_sum_to_one_and_joints_stay(finer: BodyModel):
    np.testing.assert_allclose(finer.skin_weights.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(finer.J_regressor @ finer.v_template, BODY.J_regressor @ BODY.v_template)
    np.testing.assert_array_equal(finer.v_template[: BODY.num_vertices], BODY.v_template)


def test_edges_become_more_even(finer: BodyModel):
    before, after = kept_edge_lengths(BODY), kept_edge_lengths(finer)
    # From 0.90; needed: 0.69, 0.43 and 0.33.
    assert after.std() / after.mean() < 0.8 * before.std() / before.mean()
    assert after.max() < 0.6 * before.max() and after.min() > 0.2 * before.min()
    assert smallest_angle(finer) > 0.5 * smallest_angle(BODY)


def test_vertices_pose_as_the_original_ones_and_new_ones_between_them():
    finer = subdivided(BODY, 30_000).body
    rng = np.random.default_rng(1)
    state = BodyState(rng.normal(size=16), rng.normal(0, 0.3, (55, 3)), rng.normal(size=3), rng.uniform(0, 1, 52))
    original, posed = posed_vertices(BODY, state), posed_vertices(finer, state)
    # The matrix product may sum in another order for another number of rows.
    np.testing.assert_allclose(posed[: BODY.num_vertices], original, atol=2e-6)
    straight = replace(state, pose=np.zeros((55, 3)))
    areas = [area(posed_vertices(b, straight)[b.faces].astype(np.float64)).sum() for b in (BODY, finer)]
    assert areas[1] == pytest.approx(areas[0], rel=1e-5), "shape and expression are interpolated along edges"


def test_uv_keeps_its_seams_and_its_place_on_the_surface(finer: BodyModel):
    assert BODY.uv is not None and BODY.uv_faces is not None and finer.uv is not None and finer.uv_faces is not None
    assert uv_islands(finer) == uv_islands(BODY), "no seam was welded or opened"
    np.testing.assert_array_equal(finer.uv[: len(BODY.uv)], BODY.uv)
    for part in range(len(BODY.part_names)):
        flat = [area(np.pad(b.uv[b.uv_faces[b.face_part == part]], ((0, 0), (0, 0), (0, 1)))).sum() for b in (BODY, finer)]
        assert flat[1] == pytest.approx(flat[0], rel=1e-4, abs=1e-9)
    pairs = np.stack([finer.uv_faces.ravel(), finer.faces.ravel()], 1)
    assert len(np.unique(pairs, axis=0)) == len(np.unique(finer.uv_faces)), "a texture point belongs to one vertex"


def square(**changes: object) -> BodyModel:
    """Two triangles that share the edge 0-2, which is the longest of the kept one."""
    values = dict(
        name="square",
        v_template=np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [-3, 3, 0]]),
        shapedirs=np.zeros((4, 3, 1)),
        exprdirs=np.zeros((4, 3, 0)),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
        parents=np.array([-1, 0]),
        J_regressor=scipy.sparse.csr_matrix(np.full((2, 4), 0.25)),
        skin_weights=np.array([[1, 0], [0.2, 0.8], [0.5, 0.5], [0, 1]]),
        joint_names=("root", "tip"),
        face_part=np.array([0, 1], np.uint8),
        part_names=("skin", "mouth_interior"),
    )
    return BodyModel(**(values | changes))  # type: ignore[arg-type]


def test_both_faces_of_the_longest_edge_are_halved_and_only_kept_ones_count():
    finer = subdivided(square(), 2).body
    assert sorted(map(sorted, finer.faces.tolist())) == [[0, 1, 4], [0, 3, 4], [1, 2, 4], [2, 3, 4]]
    assert finer.face_part.tolist() == [0, 1, 0, 1]
    assert finer.v_template[4].tolist() == [0.5, 0.5, 0] and finer.skin_weights[4].tolist() == [0.75, 0.25]


def test_pose_correctives_are_carried():
    posedirs = np.arange(9 * 12, dtype=np.float32).reshape(9, 12)
    finer = subdivided(square(posedirs=posedirs), 2).body.posedirs
    assert finer is not None
    by_vertex = finer.reshape(9, 5, 3)
    np.testing.assert_array_equal(by_vertex[:, :4], posedirs.reshape(9, 4, 3))
    np.testing.assert_array_equal(by_vertex[:, 4], by_vertex[:, [0, 2]].mean(1))


def test_fewer_than_there_are_is_refused():
    assert subdivided(BODY, KEPT).body.num_faces == BODY.num_faces
    with pytest.raises(ValueError, match="gaussians: expected at least the 25004 of body 'default', got 25003"):
        subdivided(BODY, KEPT - 1)


@pytest.mark.parametrize("gaussians", [30_000, 30_001, 55_000])
def test_the_count_alone_tells_the_mesh(gaussians: int):
    """An avatar file holds how many Gaussians it has, and nothing else of its mesh."""
    finer = subdivided(BODY, gaussians).body
    again = subdivided(BODY, len(finer.kept_faces)).body
    np.testing.assert_array_equal(finer.faces, again.faces)
    np.testing.assert_array_equal(finer.v_template, again.v_template)


def test_what_lay_on_the_vertices_is_carried_along():
    division = subdivided(BODY, 40_000)
    np.testing.assert_allclose(division.carried(BODY.v_template), division.body.v_template, atol=1e-6)
    assert (division.carried(np.ones(BODY.num_vertices, np.float32)) == 1).all()
    assert len(subdivided(BODY, KEPT).carried(np.zeros(BODY.num_vertices))) == BODY.num_vertices
