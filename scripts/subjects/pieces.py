"""Pieces of a dressed person: triangle meshes in T-pose with skinning weights, texture coordinates and classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, UInt8
from scipy.spatial import KDTree

# Weights come from this many nearest vertices of the body, by inverse distance.
_NEAREST = 6


@dataclass(frozen=True)
class Piece:
    """Skin, a garment, a shoe or hair; vertices are shared inside a piece only."""

    vertices: Float[np.ndarray, "V 3"]
    """T-pose, template coordinates [m]."""
    faces: Int[np.ndarray, "F 3"]
    skin_weights: Float[np.ndarray, "V J"]
    texture: Float[np.ndarray, "V 3"]
    """Where the material's pattern is evaluated [m]."""
    labels: UInt8[np.ndarray, " F"]
    """Sapiens-28 classes."""
    material: str
    """Name of a pattern of textures.py."""


def clipped(piece: Piece, field: Float[np.ndarray, " V"]) -> Piece:
    """The part where the field is positive. Triangles are cut along its zero, so a hem is straight and not toothed."""
    inside = field > 0
    count = inside[piece.faces].sum(1)
    cut = (count == 1) | (count == 2)
    odd = np.argmax(inside[piece.faces[cut]] == (count[cut] == 1)[:, None], 1)
    a, b, c = (piece.faces[cut][np.arange(len(odd)), (odd + k) % 3] for k in range(3))
    ends, index = np.unique(np.sort(np.concatenate([np.stack([a, b], 1), np.stack([a, c], 1)]), 1), axis=0, return_inverse=True)
    ab, ac = len(field) + index.reshape(2, -1)
    one, two = count[cut] == 1, count[cut] == 2
    tips = np.stack([a, ab, ac], 1)[one]
    quads = np.concatenate([np.stack([ab, b, c], 1)[two], np.stack([ab, c, ac], 1)[two]])
    labels = piece.labels[cut]
    share = (field[ends[:, 0]] / (field[ends[:, 0]] - field[ends[:, 1]]))[:, None]

    def with_cuts(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, values[ends[:, 0]] * (1 - share) + values[ends[:, 1]] * share])

    faces = np.concatenate([piece.faces[count == 3], tips, quads])
    used, faces = np.unique(faces, return_inverse=True)
    return Piece(
        vertices=with_cuts(piece.vertices)[used],
        faces=faces.reshape(-1, 3),
        skin_weights=with_cuts(piece.skin_weights)[used],
        texture=with_cuts(piece.texture)[used],
        labels=np.concatenate([piece.labels[count == 3], labels[one], labels[two], labels[two]]),
        material=piece.material,
    )


def smoothed(
    values: Float[np.ndarray, "V N"], faces: Int[np.ndarray, "F 3"], rounds: int, share: float = 0.5
) -> Float[np.ndarray, "V N"]:
    """Values moved `rounds` times towards the mean of their neighbours by `share` of the way."""
    edges = np.concatenate([faces, np.roll(faces, -1, 1)], 1).reshape(-1, 2, 3).swapaxes(1, 2).reshape(-1, 2)
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    adjacent = scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(values),) * 2)
    adjacent.data[:] = 1.0
    degree = np.maximum(np.asarray(adjacent.sum(1)), 1.0)
    for _ in range(rounds):
        values = values + share * (adjacent @ values / degree - values)
    return values


def tube(rings: Float[np.ndarray, "R A 3"]) -> tuple[Float[np.ndarray, "V 3"], Int[np.ndarray, "F 3"]]:
    """Vertices and outward faces of rings stacked from the top down, each counter-clockwise seen from above."""
    R, A = rings.shape[:2]
    at = np.arange(R * A).reshape(R, A)
    upper, lower = at[:-1].ravel(), at[1:].ravel()
    upper_next, lower_next = np.roll(at[:-1], -1, 1).ravel(), np.roll(at[1:], -1, 1).ravel()
    faces = np.concatenate([np.stack([upper, lower, lower_next], 1), np.stack([upper, lower_next, upper_next], 1)])
    return rings.reshape(-1, 3), faces


def hanging(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    label: int,
    material: str,
    body_vertices: Float[np.ndarray, "B 3"],
    body_weights: Float[np.ndarray, "B J"],
    smoothing: int,
) -> Piece:
    """A mesh of its own that moves with the nearest body vertices, weights smoothed so that it bends and does not tear."""
    distance, index = KDTree(body_vertices).query(vertices, _NEAREST)
    share = 1.0 / np.maximum(distance, 1e-4)
    weights = np.einsum("vk,vkj->vj", share / share.sum(1, keepdims=True), body_weights[index])
    weights = smoothed(weights, faces, smoothing)
    return Piece(vertices, faces, weights, vertices, np.full(len(faces), label, np.uint8), material)


@dataclass(frozen=True)
class DressedPerson:
    """All pieces in one mesh."""

    mesh: Piece
    """Its material is the name of none; `materials` has those of the pieces."""
    materials: tuple[str, ...]
    piece_of_face: Int[np.ndarray, " F"]


def joined(pieces: Sequence[Piece]) -> DressedPerson:
    starts = np.cumsum([0, *(len(p.vertices) for p in pieces)])
    mesh = Piece(
        vertices=np.concatenate([p.vertices for p in pieces]),
        faces=np.concatenate([p.faces + start for p, start in zip(pieces, starts, strict=False)]),
        skin_weights=np.concatenate([p.skin_weights for p in pieces]).astype(np.float32),
        texture=np.concatenate([p.texture for p in pieces]),
        labels=np.concatenate([p.labels for p in pieces]),
        material="",
    )
    owners = np.repeat(np.arange(len(pieces)), [len(p.faces) for p in pieces])
    return DressedPerson(mesh, tuple(p.material for p in pieces), owners)
