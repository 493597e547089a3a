"""What no camera saw: filled in from the other side of the body and from the neighbourhood, and how far to believe it."""

import functools

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import torch
from jaxtyping import Float, Int
from scipy.spatial import KDTree
from torch import Tensor

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.body.template import BodyModel

ENOUGH_OBSERVATIONS = 20.0
"""Training steps that have seen a Gaussian after which it is believed to 63 %."""
HALF_OBSERVATIONS = 6.0
"""Training steps after which what a Gaussian learned weighs as much as one neighbour; the weight grows with their square, so
that a seen region passes into a completed one without a seam."""
_KEPT_FROM = 30.0
"""Weight from which on a Gaussian keeps exactly what it learned."""
_MIRROR_WEIGHT = 0.5
"""Of the mirrored value against one neighbour's; whole sides come out as copies, seams as gradients."""
_REST_WEIGHT = 1e-4
"""Of the mean of all that was seen, for islands of the mesh without anything seen."""


def confidence(observed: Float[Tensor, " K"]) -> Float[Tensor, " K"]:
    """In [0, 1), of training steps that have seen each Gaussian."""
    return 1 - torch.exp(-observed / ENOUGH_OBSERVATIONS)


@torch.no_grad()
def complete(avatar: Avatar) -> None:
    """Fills albedo and class scores of the avatar's unseen Gaussians in place, those that are free per face: a hash field
    continues by itself. `observed` stays, so that what was filled in still counts as unseen."""
    filling = completion_of(avatar.body)
    weights = (avatar.observed / HALF_OBSERVATIONS).square().cpu().numpy()
    for name, fill in (("color_logit", filling.colors), ("logits", filling.logits)):
        value = getattr(avatar.field, name, None)
        if value is not None:
            value.copy_(torch.from_numpy(fill(value.cpu().numpy(), weights)))


@functools.lru_cache(maxsize=2)
def completion_of(body: BodyModel) -> "Completion":
    return Completion(body)


class Completion:
    """Fills values of the unseen kept faces of one body: the smoothest that continue the seen ones and agree with the
    mirrored ones, a sparse linear system (discrete screened Laplace equation on the faces' adjacency).

    Each face's own value counts by its weight against one neighbour's: 0 is unseen, from 30 on it stays as it is.
    """

    def __init__(self, body: BodyModel):
        faces = body.faces[body.kept_faces]
        centers = body.v_template[faces].mean(1)
        self._laplacian = _laplacian(faces)
        distance, self._mirror = KDTree(centers).query(centers * [-1, 1, 1])
        # A partner farther off than a face is wide is none.
        self._has_mirror = distance < np.sqrt(np.abs(_areas(body.v_template[faces])))
        self._swapped = mirrored_classes()

    def colors(self, values: Float[np.ndarray, "K C"], weights: Float[np.ndarray, " K"]) -> Float[np.ndarray, "K C"]:
        """Values with those of unseen faces filled in; as they are when nothing, or all, was seen."""
        return self._filled(values, values[self._mirror], weights)

    def logits(self, values: Float[np.ndarray, "K 28"], weights: Float[np.ndarray, " K"]) -> Float[np.ndarray, "K 28"]:
        """Class scores: a left arm mirrors a right arm."""
        return self._filled(values, values[self._mirror][:, self._swapped], weights)

    def _filled(
        self, values: Float[np.ndarray, "K C"], mirrored: Float[np.ndarray, "K C"], weights: Float[np.ndarray, " K"]
    ) -> Float[np.ndarray, "K C"]:
        kept = weights >= _KEPT_FROM
        if kept.all() or not kept.any():
            return values
        open_, own = np.flatnonzero(~kept), weights[~kept].astype(np.float64)
        pull = _MIRROR_WEIGHT * (kept[self._mirror] & self._has_mirror)[open_]
        system = self._laplacian[open_][:, open_] + scipy.sparse.diags(own + pull + _REST_WEIGHT)
        right = -(self._laplacian[open_][:, np.flatnonzero(kept)] @ values[kept].astype(np.float64))
        right += own[:, None] * values[open_] + pull[:, None] * mirrored[open_] + _REST_WEIGHT * values[kept].mean(0)
        filled = values.copy()
        filled[open_] = scipy.sparse.linalg.splu(system.tocsc()).solve(right)
        return filled


def mirrored_classes() -> Int[np.ndarray, "28"]:
    """For each Sapiens class the one on the body's other side."""
    other = {"Left": "Right", "Right": "Left"}
    names = ["_".join(other.get(part, part) for part in name.split("_")) for name in SAPIENS28_NAMES]
    return np.array([SAPIENS28_NAMES.index(name) for name in names])


def _laplacian(faces: Int[np.ndarray, "K 3"]) -> scipy.sparse.csr_matrix:
    """Of the graph whose nodes are faces and whose edges join those that share a side."""
    sides = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2), 1)
    owner = np.repeat(np.arange(len(faces)), 3)
    order = np.lexsort(sides.T)
    same = (sides[order][1:] == sides[order][:-1]).all(1)
    a, b = owner[order[:-1][same]], owner[order[1:][same]]
    ones = np.ones(2 * len(a))
    adjacency = scipy.sparse.csr_matrix((ones, (np.concatenate([a, b]), np.concatenate([b, a]))), (len(faces), len(faces)))
    return scipy.sparse.csr_matrix(scipy.sparse.diags(np.asarray(adjacency.sum(1)).ravel()) - adjacency)


def _areas(triangles: Float[np.ndarray, "K 3 3"]) -> Float[np.ndarray, " K"]:
    a, b, c = triangles.transpose(1, 0, 2)
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
