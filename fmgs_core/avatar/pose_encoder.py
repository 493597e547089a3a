"""A code of pose and shape that follows the skeleton: what a joint says depends on its parent (LEAP, Mihajlovic et al.,
2021)."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.geometry import rotation_from_axis_angle

CODE = 16
"""Width of Z_p (FMGS-Avatar sec. 3.2)."""

_PER_JOINT = 6  # as LEAP and 3DGS-Avatar
_INPUTS = 9 + 3 + 1 + _PER_JOINT  # rotation, offset from the parent and its length, the parent's code


class PoseEncoder(torch.nn.Module):
    """Z_p of a pose and the rest joints, through which the shape comes in.

    The root's orientation is left out: turning around deforms nobody. Joints of equal depth are one batched product, so that
    55 of them cost a dozen. The code's derivative by the pose is stopped: poses are judged by where they put the surface.

    Args:
        parents: of each joint, -1 for the root, which comes first.
    """

    def __init__(self, parents: Int[np.ndarray, " J"], generator: torch.Generator):
        super().__init__()
        self._sizes, order, places = _levels(parents)
        # Index tensors and not lists, which would be copied to a GPU, and waited for, at every call.
        for name, index in (("_order", order), ("_parents", parents.clip(min=0)), ("_places", places)):
            self.register_buffer(name, torch.as_tensor(index), persistent=False)
        self._order: Tensor
        self._parents: Tensor
        self._places: Tensor

        def uniform(inputs: int, *shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter((2 * torch.rand(*shape, generator=generator) - 1) * inputs**-0.5)

        hidden = _INPUTS
        self.hidden = torch.nn.ParameterList([uniform(_INPUTS, n, _INPUTS, hidden) for n in self._sizes])
        self.output = torch.nn.ParameterList([uniform(hidden, n, hidden, _PER_JOINT) for n in self._sizes])
        self.head = uniform(_PER_JOINT * len(parents), CODE, _PER_JOINT * len(parents))

    @torch.no_grad()
    def _inputs(self, pose: Float[Tensor, "J 3"], joints: Float[Tensor, "J 3"]) -> Float[Tensor, "J 13"]:
        R = rotation_from_axis_angle(pose)
        identity = torch.eye(3, dtype=R.dtype, device=R.device)
        R = torch.cat([torch.zeros_like(R[:1]), R[1:] - identity])  # the root's is left out; a T-pose says nothing
        offsets = joints - joints[self._parents]
        return torch.cat([R.flatten(1), offsets, offsets.norm(dim=-1, keepdim=True)], -1)

    def forward(self, pose: Float[Tensor, "J 3"], joints: Float[Tensor, "J 3"]) -> Float[Tensor, " 16"]:
        """Code of a pose [rad] of the body with these rest joints [m]."""
        inputs = self._inputs(pose, joints)[self._order].split(self._sizes)
        above = inputs[0].new_zeros(1, _PER_JOINT)
        codes = []
        for known, places, hidden, output in zip(
            inputs, self._places.split(self._sizes), self.hidden, self.output, strict=True
        ):
            x = torch.cat([known, above[places]], -1)[:, None]
            above = (torch.relu(x @ hidden) @ output)[:, 0]
            codes.append(above)
        return self.head @ torch.cat(codes).flatten()


def _levels(parents: Int[np.ndarray, " J"]) -> tuple[list[int], list[int], list[int]]:
    """How many joints there are at each depth, the joints by depth, and each one's parent's place within the depth above."""
    levels, places = [[0]], [0]
    while members := [j for j in range(1, len(parents)) if parents[j] in levels[-1]]:
        places += [levels[-1].index(parents[j]) for j in members]
        levels.append(members)
    return [len(level) for level in levels], [j for level in levels for j in level], places
