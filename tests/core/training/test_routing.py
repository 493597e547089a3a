"""The routing table, cell by cell, through the real rasterizer: stopped is exactly zero, passed is not.

The cases are ROUTING itself, so that a loss cannot be added without being tested; what the table must say is written out once
more in PASSES, after method.md.
"""

from functools import cache

import pytest
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.geometry import rotation_from_quaternion
from fmgs_core.raster import rasterize
from fmgs_core.training import losses as L
from fmgs_core.training.keyframes import face_neighbors
from fmgs_core.training.routing import ROUTING, Attribute, as_leaves, backpropagate, routed_gradients
from fmgs_core.types import Rendering, Splats

from .scene import EVERYTHING, FIELD_BEHIND, camera, seen, state

PASSES = {
    "color": "position rotation scale opacity color pose",
    "mask": "position rotation scale opacity pose",
    "depth": "position scale opacity pose",
    "depth_order": "position scale opacity pose",
    "normal": "rotation scale opacity",
    "self_normal": "rotation scale opacity",
    "normal_variation": "rotation scale opacity",
    "label": "semantic",
    "label_spread": "semantic",
    "isometry": "position pose",
    "covariance_isometry": "rotation scale pose",
}
# What a loss can reach when nothing is stopped; the ablation must move all of it.
REACHES = {
    "color": "position rotation scale opacity color",
    "mask": "position rotation scale opacity",
    "depth": "position rotation scale opacity",
    "depth_order": "position rotation scale opacity",
    "normal": "position rotation scale opacity",
    "self_normal": "position rotation scale opacity",
    "normal_variation": "position rotation scale opacity",
    "label": "position rotation scale opacity semantic",
    "label_spread": "semantic",
    "isometry": "position",
    "covariance_isometry": "rotation scale",
}


def fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def loss_of(name: str, splats: Splats, rendering: Rendering, rest: Splats) -> torch.Tensor:
    """Each loss of the table against the true person, as the trainer takes it."""
    truth, inside = seen(state(), camera()), rendering.alpha.detach() > 0.5
    assert truth.rgb is not None and truth.depth is not None and truth.normal is not None and truth.logits is not None
    assert rendering.rgb is not None and rendering.depth is not None and splats.logits is not None
    assert rendering.normal is not None and rendering.logits is not None
    both = (truth.alpha > 0.5) & inside
    match name:
        case "color":
            return L.color_loss(rendering.rgb, truth.rgb).mean()
        case "mask":
            return L.mask_loss(rendering.alpha, truth.alpha.clamp(0, 1)).mean()
        case "depth":
            depth, pairs = rendering.depth[both], torch.randint(int(both.sum()), (2000, 2), generator=fixed())
            return L.ordinal_depth_loss(depth, truth.depth[both], pairs, 0.0).mean()
        case "depth_order":
            depth, pairs = rendering.depth[both], torch.randint(int(both.sum()), (2000, 2), generator=fixed())
            return L.depth_order_loss(depth, truth.depth[both], pairs, 0.0).mean()
        case "normal":
            return L.normal_prior_loss(rendering.normal[both], truth.normal[both]).mean()
        case "self_normal":
            from_depth, known = L.normals_from_depth(rendering.depth, camera().K, inside)
            return (L.self_normal_loss(rendering.normal, from_depth) * known).mean()
        case "normal_variation":
            return L.total_variation(rendering.normal, inside)
        case "label":
            return L.label_loss(rendering.logits[both], truth.logits.argmax(-1)[both]).mean()
        case "label_spread":
            groups = splats.logits.detach().argmax(-1)
            return L.semantic_spread(splats.logits, groups, splats.logits.shape[1])
        case "isometry":
            beside = neighbors()
            return L.isometry(splats.means, splats.means[beside], rest.means, rest.means[beside]).mean()
        case "covariance_isometry":
            return (overlaps(splats) - overlaps(rest)).square().mean()
    raise AssertionError(f"no loss for {name}: add it here and to PASSES")


@cache
def neighbors() -> torch.Tensor:
    return torch.from_numpy(face_neighbors(default_body().faces[default_body().kept_faces]))[:, 0]


def overlaps(splats: Splats) -> torch.Tensor:
    axes, beside = rotation_from_quaternion(splats.quats)[..., :2], neighbors()
    return L.covariance_overlap(axes, splats.scales, axes[beside], splats.scales[beside])


class Backward:
    """The named losses of a rough avatar in a slightly wrong pose, taken all the way back."""

    def __init__(self, *names: str, routing: str = "coordinated"):
        self.avatar = avatar = Avatar(default_body())
        with torch.no_grad():
            for parameter in (avatar.field.rotation, avatar.field.log_scale, avatar.field.logits):
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=fixed()))
            avatar.field.opacity_logit.fill_(0.0)  # a saturated silhouette has no mask gradient
            rest = avatar.posed(torch.zeros(55, 3), torch.zeros(3))
        self.pose = (torch.from_numpy(state(0.1).pose) + 0.02).requires_grad_()
        self.transl = torch.tensor([0.02, 0.01, 0.03], requires_grad=True)
        splats = avatar.posed(self.pose, self.transl)
        leaves = as_leaves(splats)
        rendering = rasterize(leaves, camera(), EVERYTHING, cull_backfaces=True)
        losses = {name: loss_of(name, leaves, rendering, rest) for name in names}
        self.gradients = routed_gradients(losses, leaves, routing)
        backpropagate(self.gradients, splats, list(avatar.field.parameters()))
        assert all(getattr(leaves, a.value).grad is None for a in Attribute)

    def at_splats(self, attribute: Attribute) -> torch.Tensor | None:
        parts = [grads[attribute] for _, grads in self.gradients if attribute in grads]
        return torch.stack(parts).sum(0) if parts else None

    def at_field(self, attribute: Attribute) -> torch.Tensor | None:
        return getattr(self.avatar.field, FIELD_BEHIND[attribute]).grad


@cache
def backward(name: str, routing: str = "coordinated") -> Backward:
    return Backward(name, routing=routing)


def moved(gradient: torch.Tensor | None) -> bool:
    """None and exact zeros are the same: nothing arrives. What arrives must be finite."""
    assert gradient is None or torch.isfinite(gradient).all()
    return gradient is not None and bool((gradient != 0).any())


def test_the_table_is_that_of_the_paper():
    names = {"pose": lambda r: r.pose} | {a.name.lower(): lambda r, a=a: a in r.attributes for a in Attribute}
    table = {loss: {name for name, passes in names.items() if passes(route)} for loss, route in ROUTING.items()}
    assert table == {loss: set(row.split()) for loss, row in PASSES.items()}


@pytest.mark.parametrize("attribute", Attribute)
@pytest.mark.parametrize("loss", ROUTING)
def test_at_the_splats_and_the_field_behind(loss: str, attribute: Attribute):
    """So a normal loss turns a Gaussian and never lifts it, and the depth loss lifts it and never turns it."""
    passes = attribute in ROUTING[loss].attributes
    assert moved(backward(loss).at_splats(attribute)) == passes
    assert moved(backward(loss).at_field(attribute)) == passes


@pytest.mark.parametrize("loss", ROUTING)
def test_at_the_pose(loss: str):
    """Through skinning into every bone that is seen; the leak R_o = T R' is closed for normals and labels."""
    pose, transl = backward(loss).pose, backward(loss).transl
    assert moved(pose.grad) == ROUTING[loss].pose
    # Neither distances nor shapes change with where the person stands.
    assert loss.endswith("isometry") or moved(transl.grad) == ROUTING[loss].pose
    if ROUTING[loss].pose:
        assert pose.grad is not None
        assert all(moved(pose.grad[joint]) for joint in (1, 2, 16, 17))
    else:
        assert pose.grad is None and transl.grad is None


@pytest.mark.parametrize("loss", ROUTING)
def test_without_routing_a_loss_moves_all_that_it_reaches(loss: str):
    """Which also shows that the zeros above are the table's doing. The pose is reached wherever a position or rotation is."""
    free = backward(loss, "none")
    reached = {a.name.lower() for a in Attribute if moved(free.at_splats(a))}
    assert reached == set(REACHES[loss].split())
    assert {a.name.lower() for a in Attribute if moved(free.at_field(a))} == reached
    assert moved(free.pose.grad) == bool(reached & {"position", "rotation"})


def test_depth_reaches_the_pose_through_position_only():
    """The same gradient on the means alone gives the same pose gradient."""
    of = backward("depth")
    again = of.pose.detach().clone().requires_grad_()
    means = of.avatar.posed(again, of.transl.detach()).means
    (through_position,) = torch.autograd.grad(means, again, of.at_splats(Attribute.POSITION))
    torch.testing.assert_close(through_position, of.pose.grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("routing", "passes"), [("coordinated", 6), ("none", 1)])
def test_all_losses_together_are_the_sum_of_each_alone(routing: str, passes: int):
    """Losses that share a route share a backward pass; the mask rides with the colour. Neither may change a number."""
    together, alone = Backward(*ROUTING, routing=routing), [backward(loss, routing) for loss in ROUTING]
    assert len(together.gradients) == passes
    pairs = [(together.at_field(a), [one.at_field(a) for one in alone]) for a in Attribute]
    for got, parts in [*pairs, (together.pose.grad, [one.pose.grad for one in alone])]:
        total = torch.stack([p for p in parts if p is not None]).sum(0)
        # Measured need 2e-6 of the largest: the order of float32 sums differs.
        torch.testing.assert_close(got, total, rtol=0, atol=1e-4 * float(total.abs().max()))


def test_leaves_are_equal_and_cut_off():
    with torch.no_grad():
        splats = Avatar(default_body()).posed(torch.zeros(55, 3), torch.zeros(3))
    leaves = as_leaves(splats)
    for attribute in Attribute:
        leaf = getattr(leaves, attribute.value)
        assert leaf.is_leaf and leaf.requires_grad and torch.equal(leaf, getattr(splats, attribute.value))
