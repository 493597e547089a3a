"""More faces, and with them more Gaussians: the longest edges of a body are halved until there are as many as wanted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int

from fmgs_core.body.template import BodyModel

# Edges are halved in rounds, in each those of at least this share of the longest edge's length. From 25 k to 55 k faces takes
# 0.3 s; 0.95 takes twice as long for edges that are at most 8 % shorter.
_SHARE = 0.8


@dataclass(frozen=True)
class Subdivision:
    """A body with halved edges, and what else lay on its vertices."""

    body: BodyModel
    rounds: tuple[Int[np.ndarray, "_ 2"], ...]
    """Ends of the edges whose midpoints were added, round by round."""
    parents: Int[np.ndarray, " K"]
    """The kept face before, counted among the kept, that each kept face after is or is a part of."""

    def carried(self, values: Float[np.ndarray, "V *c"]) -> Float[np.ndarray, "W *c"]:
        """Values per vertex of the body before, interpolated to those after."""
        return _with_midpoints(values, self.rounds)


def subdivided(body: BodyModel, gaussians: int) -> Subdivision:
    """The same surface with `gaussians` kept faces, or one more: `kept_faces` carry one Gaussian each.

    Only edges are halved that are the longest of both their faces, the two faces together: the mesh stays closed, and no angle
    falls under half of the smallest before (longest-edge bisection, Rivara 1984). Lengths are those of the mean body, and
    edges without a kept face do not count. What vertices carry is interpolated, the first V vertices stay, and J_regressor
    gets zero columns for the others, so the joints stay exactly where they were.

    Raises:
        ValueError: fewer Gaussians than the body has kept faces.
    """
    if gaussians < len(body.kept_faces):
        raise ValueError(f"gaussians: expected at least the {len(body.kept_faces)} of body {body.name!r}, got {gaussians}")
    kept = np.isin(np.arange(body.num_faces), body.kept_faces)
    source, faces, uv_faces = np.arange(body.num_faces), body.faces, body.uv_faces
    vertices, edges, uv_edges = body.v_template.astype(np.float64), [], []
    uv_count = 0 if body.uv is None else len(body.uv)
    while (missing := gaussians - int(kept[source].sum())) > 0:
        rows, sides = _longest_sides(vertices, faces, kept[source], missing)
        source = np.concatenate([source, source[rows]])
        faces, halved = _bisected(faces, rows, sides, len(vertices))
        vertices, edges = _with_midpoints(vertices, [halved]), [*edges, halved]
        if uv_faces is not None:
            uv_faces, halved = _bisected(uv_faces, rows, sides, uv_count)
            uv_count, uv_edges = uv_count + len(halved), [*uv_edges, halved]
    if not edges:
        return Subdivision(body, (), np.arange(len(body.kept_faces)))
    finer = replace(
        body,
        v_template=_with_midpoints(body.v_template, edges),
        shapedirs=_with_midpoints(body.shapedirs, edges),
        exprdirs=_with_midpoints(body.exprdirs, edges),
        skin_weights=_with_midpoints(body.skin_weights, edges),
        posedirs=None if body.posedirs is None else _posedirs_with_midpoints(body.posedirs, edges),
        J_regressor=_padded(body.J_regressor, len(vertices)),
        faces=faces,
        face_part=body.face_part[source],
        uv=None if body.uv is None else _with_midpoints(body.uv, uv_edges),
        uv_faces=uv_faces,
    )
    return Subdivision(finer, tuple(edges), np.searchsorted(body.kept_faces, source[finer.kept_faces]))


def _padded(regressor: scipy.sparse.csr_matrix, columns: int) -> scipy.sparse.csr_matrix:
    """With columns of zeros."""
    data, indices, indptr = regressor.data, regressor.indices, regressor.indptr
    return scipy.sparse.csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, columns))


def _longest_sides(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], kept: Bool[np.ndarray, " F"], missing: int
) -> tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"]]:
    """Faces to halve in this round, and which of their sides: k is that from corner k to the next."""
    ends = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1), -1)
    keys, edge_of_side = np.unique(ends[..., 0] * len(vertices) + ends[..., 1], return_inverse=True)
    edge_of_side = edge_of_side.reshape(-1, 3)
    gain = np.bincount(edge_of_side[kept].ravel(), minlength=len(keys))
    length = np.linalg.norm(vertices[keys // len(vertices)] - vertices[keys % len(vertices)], axis=1) * (gain > 0)

    # Ranks instead of lengths: of two equally long sides the same one wins in both faces.
    order = np.argsort(length, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    longest = rank[edge_of_side].argmax(1)
    longest_edge = edge_of_side[np.arange(len(faces)), longest]
    of_both = np.bincount(longest_edge, minlength=len(keys)) == np.bincount(edge_of_side.ravel())
    candidates = order[::-1][(of_both & (length >= _SHARE * length.max()))[order[::-1]]]
    enough = np.searchsorted(np.cumsum(gain[candidates]), missing) + 1
    rows = np.flatnonzero(np.isin(longest_edge, candidates[:enough]))
    return rows, longest[rows]


def _bisected(
    faces: Int[np.ndarray, "F 3"], rows: Int[np.ndarray, " S"], sides: Int[np.ndarray, " S"], num_vertices: int
) -> tuple[Int[np.ndarray, "G 3"], Int[np.ndarray, "E 2"]]:
    """Faces with the given ones halved at the middle of a side, second halves at the end, and the edges whose midpoints are
    the vertices num_vertices, num_vertices + 1, ..."""
    a, b, c = (faces[rows, (sides + k) % 3] for k in range(3))
    edges, inverse = np.unique(np.sort(np.stack([a, b], 1), 1), axis=0, return_inverse=True)
    middle = num_vertices + inverse.reshape(-1)
    halved = np.concatenate([faces, np.stack([middle, b, c], 1)])
    halved[rows] = np.stack([a, middle, c], 1)
    return halved, edges


def _with_midpoints(values: Float[np.ndarray, "V ..."], rounds: Sequence[Int[np.ndarray, "_ 2"]]) -> Float[np.ndarray, "W ..."]:
    """Rows for the midpoints of each round's edges, whose ends may be midpoints of an earlier round."""
    result = np.empty((len(values) + sum(map(len, rounds)), *values.shape[1:]), values.dtype)
    result[: len(values)], start = values, len(values)
    for edges in rounds:
        result[start : start + len(edges)] = 0.5 * (result[edges[:, 0]] + result[edges[:, 1]])
        start += len(edges)
    return result


def _posedirs_with_midpoints(posedirs: np.ndarray, rounds: Sequence[Int[np.ndarray, "_ 2"]]) -> np.ndarray:
    by_vertex = posedirs.reshape(len(posedirs), -1, 3).transpose(1, 0, 2)
    return _with_midpoints(by_vertex, rounds).transpose(1, 0, 2).reshape(len(posedirs), -1)
