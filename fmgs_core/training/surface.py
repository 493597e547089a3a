"""The faces' displacements as a height field over the body: heights and tilts of neighbours must tell of one surface.

Per face a displacement dd along its normal and a rotation dr are learned. Left alone they contradict each other: heights are
seen in the silhouette, tilts in the normals. To first order a face that is turned by dr has the slope (-dr_v, dr_u) in its own
tangents, so the step from face i to its neighbour j should be

    dd_j - dd_i = (slope_i . e_ij + slope_j . e_ij) / 2,

with e_ij the edge between the centres in the tangents of i and of j. This is L_sn of the paper taken on the surface in place of
the picture, where it needs no rendering and holds for what no camera sees; and the discrete Poisson equation by which normals
are integrated (Horn and Brooks, 1986), solved by the same optimiser as all the rest.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from fmgs_core.avatar.binding import FaceBinding
from fmgs_core.raster.kernel import kernel, kernel_part, parallel_kernel


@dataclass(frozen=True)
class SurfaceEdges:
    """From each face to the three beside it, at rest [m]. A border edge leads to the face itself and is of no length."""

    neighbors: Int[Tensor, "K 3"]
    here: Float[Tensor, "K 3 2"]
    """Along the face's own tangents."""
    there: Float[Tensor, "K 3 2"]
    """Along the neighbour's tangents."""

    @classmethod
    def of(cls, binding: FaceBinding, neighbors: Int[Tensor, "K 3"]) -> "SurfaceEdges":
        """On a CPU by a kernel: it is asked for with every change of the tracker's shape, which torch takes 8 ms for."""
        if binding.centers.device.type != "cpu":
            return cls(neighbors, *edges_in_tangents(binding, neighbors))
        arrays = (t.contiguous().numpy() for t in (binding.centers, binding.frames, neighbors))
        here, there = (np.empty((len(neighbors), 3, 2), np.float32) for _ in range(2))
        _fill_edges(*arrays, here, there)
        return cls(neighbors, torch.from_numpy(here), torch.from_numpy(there))


def edges_in_tangents(
    binding: FaceBinding, neighbors: Int[Tensor, "K 3"]
) -> tuple[Float[Tensor, "K 3 2"], Float[Tensor, "K 3 2"]]:
    """`here` and `there` of SurfaceEdges; the twin of the kernel."""
    edges = binding.centers[neighbors] - binding.centers[:, None]
    here, there = binding.frames[:, None, :, :2], binding.frames[neighbors][..., :2]
    return (edges[..., None] * here).sum(-2), (edges[..., None] * there).sum(-2)


def step_errors(
    normal_offset: Float[Tensor, " K"], rotation: Float[Tensor, "K 3"], edges: SurfaceEdges
) -> Float[Tensor, "K 3"]:
    """dd_j - dd_i less what the slopes ask for [m]; the twin of the kernel."""
    slope = torch.stack([-rotation[:, 1], rotation[:, 0]], -1)
    flat, shape = edges.neighbors.flatten(), edges.neighbors.shape
    beside = slope.index_select(0, flat).unflatten(0, shape)
    asked = (slope[:, None] * edges.here).sum(-1) + (beside * edges.there).sum(-1)
    return normal_offset.index_select(0, flat).unflatten(0, shape) - normal_offset[:, None] - asked / 2


def surface_inconsistency(
    normal_offset: Float[Tensor, " K"], rotation: Float[Tensor, "K 3"], edges: SurfaceEdges
) -> Float[Tensor, ""]:
    """Mean squared step error [m^2]; on a CPU by a kernel."""
    if normal_offset.device.type != "cpu":
        return step_errors(normal_offset, rotation, edges).square().mean()
    return _Inconsistency.apply(normal_offset, rotation, edges)  # type: ignore[return-value]


class _Inconsistency(torch.autograd.Function):
    """A step error seen from the other side is its negative, so that each face can gather its own gradient: equal input gives
    equal bits on any number of threads."""

    @staticmethod
    def forward(ctx: Any, normal_offset: Tensor, rotation: Tensor, edges: SurfaceEdges) -> Tensor:
        arrays = (t.detach().contiguous().numpy() for t in (normal_offset, rotation, edges.neighbors, edges.here, edges.there))
        count = len(normal_offset)
        squares, by_offset, by_rotation = (
            np.empty(count, np.float32),
            np.empty(count, np.float32),
            np.zeros((count, 3), np.float32),
        )
        _sum_steps(*arrays, squares, by_offset, by_rotation)
        ctx.gradients = by_offset, by_rotation
        return normal_offset.new_tensor(squares.sum(dtype=np.float64) / (3 * count))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # Each edge is counted from both sides, and a square's slope is twice its root.
        factor = np.float32(float(grads[0]) * 4 / (3 * len(ctx.gradients[0])))
        return *(torch.from_numpy(factor * gradient) for gradient in ctx.gradients), None


@kernel
def _fill_edges(centers, frames, neighbors, here, there):
    for i in range(len(neighbors)):
        for k in range(3):
            j = neighbors[i, k]
            for t in range(2):
                along_here, along_there = np.float32(0), np.float32(0)
                for a in range(3):
                    edge = centers[j, a] - centers[i, a]
                    along_here += edge * frames[i, a, t]
                    along_there += edge * frames[j, a, t]
                here[i, k, t], there[i, k, t] = along_here, along_there


@parallel_kernel
def _sum_steps(normal_offset, rotation, neighbors, here, there, squares, by_offset, by_rotation):
    """Per face the sum of its squared step errors, and the derivatives of half of it."""
    for i in prange(len(normal_offset)):
        square, to_offset, to_u, to_v = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(3):
            j = neighbors[i, k]
            asked = _rise(rotation[i], here[i, k]) + _rise(rotation[j], there[i, k])
            error = normal_offset[j] - normal_offset[i] - np.float32(0.5) * asked
            square += error * error
            to_offset -= error
            to_u -= np.float32(0.5) * error * here[i, k, 1]
            to_v += np.float32(0.5) * error * here[i, k, 0]
        squares[i], by_offset[i], by_rotation[i, 0], by_rotation[i, 1] = square, to_offset, to_u, to_v


@kernel_part
def _rise(rotation, edge):
    return rotation[0] * edge[1] - rotation[1] * edge[0]
