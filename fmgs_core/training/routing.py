"""Which loss may move which attribute: the paper's coordinated training, as data (FMGS-Avatar sec. 3.4, method.md).

Attributes are those of the splat interface. A loss is taken through the rasterizer once, and its gradient is kept only on
the attributes it is routed to; elsewhere it is exactly zero because it is never computed into them. Losses of parameters that
make splats (smoothness, decay, skinning) never come here: they move the parameter they are about.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from fmgs_core.types import Splats

ROUTINGS = ("coordinated", "none")
"""coordinated: by the table. none: every loss moves all that it can reach; for comparison."""


class Attribute(Enum):
    POSITION = "means"
    ROTATION = "quats"
    SCALE = "scales"
    OPACITY = "opacities"
    COLOR = "colors"
    SEMANTIC = "logits"


@dataclass(frozen=True)
class Route:
    """Where one loss goes."""

    attributes: frozenset[Attribute]
    pose: bool
    """Whether its gradient goes on through skinning into pose and translation."""


def _route(*attributes: Attribute, pose: bool) -> Route:
    return Route(frozenset(attributes), pose)


_A = Attribute
_SHAPE = (_A.SCALE, _A.OPACITY)
ROUTING: dict[str, Route] = {
    "color": _route(_A.POSITION, _A.ROTATION, *_SHAPE, _A.COLOR, pose=True),
    "mask": _route(_A.POSITION, _A.ROTATION, *_SHAPE, pose=True),
    "depth": _route(_A.POSITION, *_SHAPE, pose=True),
    "depth_order": _route(_A.POSITION, *_SHAPE, pose=True),
    "normal": _route(_A.ROTATION, *_SHAPE, pose=False),
    "self_normal": _route(_A.ROTATION, *_SHAPE, pose=False),
    "normal_variation": _route(_A.ROTATION, *_SHAPE, pose=False),
    "label": _route(_A.SEMANTIC, pose=False),
    "label_spread": _route(_A.SEMANTIC, pose=False),
    "isometry": _route(_A.POSITION, pose=True),
    "covariance_isometry": _route(_A.ROTATION, _A.SCALE, pose=True),
}
EVERYWHERE = _route(*Attribute, pose=True)
# Losses that cannot reach what the colour loss may move beyond their own route: its backward pass serves them too.
_RIDING_WITH_COLOR = ("mask",)


def as_leaves(splats: Splats) -> Splats:
    """The same values cut off from their history, each wanting a gradient."""
    return Splats(**{a.value: getattr(splats, a.value).detach().requires_grad_() for a in Attribute})


def routed_gradients(
    losses: dict[str, Tensor], leaves: Splats, routing: str = "coordinated"
) -> list[tuple[Route, dict[Attribute, Tensor]]]:
    """Gradients of the losses at the leaves, one entry per distinct route; losses that share a route share a backward.

    Args:
        losses: scalars by the name they have in ROUTING.
        leaves: what was drawn, as made by as_leaves.
    """
    by_route: dict[Route, Tensor] = {}
    for name, loss in losses.items():
        route = _taken(name, losses) if routing == "coordinated" else EVERYWHERE
        by_route[route] = by_route[route] + loss if route in by_route else loss
    gradients = []
    for i, (route, loss) in enumerate(by_route.items()):
        order = [a for a in Attribute if a in route.attributes]
        inputs = [getattr(leaves, a.value) for a in order]
        grads = torch.autograd.grad(loss, inputs, retain_graph=i + 1 < len(by_route), allow_unused=True)
        gradients.append((route, {a: g for a, g in zip(order, grads, strict=True) if g is not None}))
    return gradients


def _taken(name: str, losses: dict[str, Tensor]) -> Route:
    return ROUTING["color" if name in _RIDING_WITH_COLOR and "color" in losses else name]


def backpropagate(
    gradients: list[tuple[Route, dict[Attribute, Tensor]]], splats: Splats, field_parameters: list[Tensor]
) -> None:
    """Carries gradients at the leaves back through the posing graph into .grad of what made the splats; where the pose is
    stopped, only the field's parameters receive anything (this closes the leak R_o = T R' of method.md)."""
    together = {pose: _summed([g for route, g in gradients if route.pose is pose]) for pose in (True, False)}
    together = {pose: grads for pose, grads in together.items() if grads}
    for i, (pose, grads) in enumerate(together.items()):
        outputs = [getattr(splats, a.value) for a in grads]
        inputs = None if pose else field_parameters
        torch.autograd.backward(outputs, list(grads.values()), retain_graph=i + 1 < len(together), inputs=inputs)


def _summed(gradients: list[dict[Attribute, Tensor]]) -> dict[Attribute, Tensor]:
    """The chain is linear, so losses that stop at the same place go back as one."""
    total: dict[Attribute, Tensor] = {}
    for grads in gradients:
        for attribute, grad in grads.items():
            total[attribute] = total[attribute] + grad if attribute in total else grad
    return total
