"""What the Gaussians of divided faces take over from those of the whole ones, so that the picture stays as it was."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.avatar.binding import FaceBinding
from fmgs_core.avatar.fields import PER_FACE


@torch.no_grad()
def inherited(
    state: Mapping[str, Tensor], before: FaceBinding, after: FaceBinding, parents: Int[Tensor, " M"]
) -> dict[str, Tensor]:
    """A field's tensors for M faces from those for K. Tables and networks stand for the whole surface and stay.

    A part is smaller than the whole by its own face, on which scales are relative: the parts together cover what the whole did,
    with its opacity. They lie in the plane of the whole, turned as it was.
    """
    taken = {name: value[parents] if name in PER_FACE else value for name, value in state.items()}
    if "rotation" in taken:
        turn = after.frames.mT @ before.frames[parents]
        away = _in_tangents(after.centers - before.centers[parents], before.frames[parents])
        taken["normal_offset"] = taken["normal_offset"] + _rise(taken["rotation"], away)
        taken["rotation"] = (turn @ taken["rotation"][..., None])[..., 0]
        if "tangent_offset" in taken:
            taken["tangent_offset"] = (turn[:, :2, :2] @ taken["tangent_offset"][..., None])[..., 0]
        taken["log_scale"] = _along(turn[:, :2, :2], taken["log_scale"])
    return taken


def _in_tangents(steps: Float[Tensor, "M 3"], frames: Float[Tensor, "M 3 3"]) -> Float[Tensor, "M 2"]:
    return (frames[..., :2].mT @ steps[..., None])[..., 0]


def _rise(rotation: Float[Tensor, "M 3"], away: Float[Tensor, "M 2"]) -> Float[Tensor, " M"]:
    """Of a plane turned by `rotation`, to first order (training/surface.py) [m]."""
    return rotation[:, 0] * away[:, 1] - rotation[:, 1] * away[:, 0]


def _along(turn: Float[Tensor, "M 2 2"], log_scale: Float[Tensor, "M 2"]) -> Float[Tensor, "M 2"]:
    """An ellipse's extents along tangents that run otherwise: the first edge of a part need not be that of the whole."""
    return 0.5 * (turn.square() @ (2 * log_scale).exp()[..., None])[..., 0].log()
