"""The routing table, cell by cell, through the real rasterizer: stopped is exactly zero, passed is not.

The expectations are written out here a second time, from method.md's table, and not read from ROUTING.
"""

import pytest
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.raster import rasterize
from fmgs_core.training import losses as L
from fmgs_core.training.routing import ROUTING, Attribute, as_leaves, backpropagate, routed_gradients
from fmgs_core.types import Rendering

from .scene import EVERYTHING, camera, seen, state

ATTRIBUTES = ["means", "quats", "scales", "opacities", "colors", "logits"]
PASSES = {
    "color": ["means", "quats", "scales", "opacities", "colors"],
    "mask": ["means", "quats", "scales", "opacities"],
    "depth": ["means", "scales", "opacities"],
    "normal": ["quats", "scales", "opacities"],
    "label": ["logits"],
}
MOVES_POSE = {"color", "mask", "depth"}
FIELD_BEHIND = {
    "means": "normal_offset",
    "quats": "rotation",
    "scales": "log_scale",
    "opacities": "opacity_logit",
    "colors": "color_logit",
    "logits": "logits",
}


def fixed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def loss_of(name: str, rendering: Rendering) -> torch.Tensor:
    """Each loss of the table against the true person, as the trainer takes it."""
    truth = seen(state(), camera())
    assert truth.rgb is not None and truth.depth is not None and truth.normal is not None and truth.logits is not None
    assert rendering.rgb is not None and rendering.depth is not None
    assert rendering.normal is not None and rendering.logits is not None
    both = (truth.alpha > 0.5) & (rendering.alpha.detach() > 0.5)
    if name == "color":
        return L.color_loss(rendering.rgb, truth.rgb).mean()
    if name == "mask":
        return L.mask_loss(rendering.alpha, truth.alpha.clamp(0, 1)).mean()
    if name == "depth":
        depth, pairs = rendering.depth[both], torch.randint(int(both.sum()), (2000, 2), generator=fixed())
        return L.ordinal_depth_loss(depth, truth.depth[both], pairs, 0.0).mean()
    if name == "normal":
        return L.normal_prior_loss(rendering.normal[both], truth.normal[both]).mean()
    return L.label_loss(rendering.logits[both], truth.logits.argmax(-1)[both]).mean()


def routed(*names: str) -> tuple[Avatar, torch.Tensor, torch.Tensor, list]:
    """The named losses of a rough avatar in a slightly wrong pose, taken all the way back; pose, translation, gradients."""
    avatar = Avatar(default_body())
    with torch.no_grad():
        for parameter in (avatar.field.rotation, avatar.field.log_scale):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=fixed()))
        avatar.field.opacity_logit.fill_(0.0)  # a saturated silhouette has no mask gradient
    pose = (torch.from_numpy(state(0.1).pose) + 0.02).requires_grad_()
    transl = torch.tensor([0.02, 0.01, 0.03], requires_grad=True)
    splats = avatar.posed(pose, transl)
    leaves = as_leaves(splats)
    rendering = rasterize(leaves, camera(), EVERYTHING, cull_backfaces=True)
    gradients = routed_gradients({name: loss_of(name, rendering) for name in names}, leaves)
    backpropagate(gradients, splats, list(avatar.field.parameters()))
    assert all(getattr(leaves, name).grad is None for name in ATTRIBUTES)
    return avatar, pose, transl, gradients


@pytest.fixture(scope="module")
def backward() -> dict:
    return {name: routed(name) for name in PASSES}


def moved(gradient: torch.Tensor | None) -> bool:
    """None and exact zeros are the same: nothing arrives."""
    return gradient is not None and bool((gradient != 0).any())


def test_the_table_names_what_is_tested_here():
    assert ROUTING.keys() == PASSES.keys() and [a.value for a in Attribute] == ATTRIBUTES


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("loss", PASSES)
def test_at_the_splats(backward: dict, loss: str, attribute: str):
    """A loss has one route, and its gradient exists only on what is routed."""
    ((_, gradients),) = backward[loss][3]
    assert (attribute in {a.value for a in gradients}) == (attribute in PASSES[loss])
    if attribute in PASSES[loss]:
        gradient = gradients[Attribute(attribute)]
        assert moved(gradient) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("loss", PASSES)
def test_at_the_field_behind(backward: dict, loss: str, attribute: str):
    """So the normal loss turns a Gaussian and never lifts it, and the depth loss lifts it and never turns it."""
    gradient = getattr(backward[loss][0].field, FIELD_BEHIND[attribute]).grad
    assert moved(gradient) == (attribute in PASSES[loss])
    assert gradient is None or torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", PASSES)
def test_at_the_pose(backward: dict, loss: str):
    """Through skinning into every bone that is seen; the leak R_o = T R' is closed for normals and labels."""
    _, pose, transl, _ = backward[loss]
    assert moved(pose.grad) == moved(transl.grad) == (loss in MOVES_POSE)
    if loss in MOVES_POSE:
        assert torch.isfinite(pose.grad).all()
        assert all(moved(pose.grad[joint]) for joint in (0, 1, 2, 16, 17))
    else:
        assert pose.grad is None and transl.grad is None


def test_depth_reaches_the_pose_through_position_only(backward: dict):
    """The same gradient on the means alone gives the same pose gradient."""
    avatar, pose, transl, ((_, gradients),) = backward["depth"]
    again = pose.detach().clone().requires_grad_()
    means = avatar.posed(again, transl.detach()).means
    (through_position,) = torch.autograd.grad(means, again, gradients[Attribute.POSITION])
    torch.testing.assert_close(through_position, pose.grad, rtol=1e-4, atol=1e-9)


def test_all_losses_together_are_the_sum_of_each_alone(backward: dict):
    """Losses that share a route share a backward pass; the mask rides with the colour. Neither may change a number."""
    avatar, pose, _, gradients = routed(*PASSES)
    assert len(gradients) == 4
    alone = [backward[name] for name in PASSES]
    expected = {name: [getattr(a.field, name).grad for a, *_ in alone] for name in FIELD_BEHIND.values()}
    got = {name: getattr(avatar.field, name).grad for name in expected}
    expected["pose"], got["pose"] = [p.grad for _, p, *_ in alone], pose.grad
    for name, parts in expected.items():
        total = torch.stack([p for p in parts if p is not None]).sum(0)
        # Measured need 2e-6 of the largest: the order of float32 sums differs.
        torch.testing.assert_close(
            got[name], total, rtol=0, atol=1e-4 * float(total.abs().max()), msg=lambda m, n=name: f"{n}: {m}"
        )


def test_leaves_are_equal_and_cut_off():
    with torch.no_grad():
        splats = Avatar(default_body()).posed(torch.zeros(55, 3), torch.zeros(3))
    leaves = as_leaves(splats)
    for name in ATTRIBUTES:
        leaf = getattr(leaves, name)
        assert leaf.is_leaf and leaf.requires_grad and torch.equal(leaf, getattr(splats, name))
