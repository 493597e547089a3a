"""From where each Gaussian is seen, told in the template's rest pose."""

import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.avatar.binding import FaceBinding
from fmgs_core.body.skinning import Skinning


@torch.no_grad()
def canonical_directions(
    binding: FaceBinding, skinning: Skinning, joints: Float[Tensor, "J 3"],
    pose: Float[Tensor, "J 3"], transl: Float[Tensor, "3"], eye: Float[Tensor, "3"],
) -> Float[Tensor, "K 3"]:  # fmt: skip
    """Unit vectors T^-1 d from the camera's centre `eye` [m, world] to each face, taken back by its blended rotation.

    A blend of rotations is no rotation; its transpose and its inverse differ by the blend's shear, and a transpose always
    exists. Persons who turn together with the camera look the same.
    """
    T = (binding.weights.dense @ skinning.bone_transforms(pose, joints).flatten(1)).unflatten(-1, (3, 4))
    means = (T[..., :3] * binding.centers[:, None]).sum(-1) + T[..., 3] + transl
    return torch.nn.functional.normalize(((means - eye)[..., None] * T[..., :3]).sum(1), dim=-1)


def head_on(binding: FaceBinding) -> Float[Tensor, "K 3"]:
    """Every face seen straight from its front: what stands in where there is no camera."""
    return -binding.frames[..., 2]
