"""Gradients stop at the attributes of the faces and go on from there once: however many losses and regularisers there are, the
networks behind the attributes run backward a single time."""

import torch
from torch import Tensor

from fmgs_core.avatar.fields import FaceAttributes


def attribute_leaves(attributes: FaceAttributes) -> FaceAttributes:
    """The same values cut off from their history, each wanting a gradient."""
    leaves = attributes.detached()
    for value in leaves.tensors().values():
        value.requires_grad_()
    return leaves


def moved_without_pose(leaves: FaceAttributes) -> list[Tensor]:
    """What losses that stop at the pose may move: all but the skinning weights, which stop them too (method.md)."""
    return [value for name, value in leaves.tensors().items() if name != "skin_weights"]


def carry_on(attributes: FaceAttributes, leaves: FaceAttributes) -> None:
    """Takes the gradients gathered at the leaves back into .grad of what made the attributes."""
    pairs = [(value, leaves.tensors()[name].grad) for name, value in attributes.tensors().items()]
    pairs = [(value, gradient) for value, gradient in pairs if gradient is not None]
    torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])
