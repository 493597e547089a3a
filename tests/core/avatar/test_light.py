"""The room's light. Kinds: closed form, property, bound."""

import numpy as np
import pytest
import torch

from fmgs_core.avatar.light import BOUND, RoomLight, directional, even_directions, harmonics
from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.geometry import rotation_from_quaternion, third_axis

from .test_model import random_state


def test_without_coefficients_light_is_even():
    assert (RoomLight()(even_directions(50)) == 1).all()


def test_directions_are_even():
    """Unit vectors whose mean is zero and whose second moments are a third."""
    n = even_directions(400)
    torch.testing.assert_close(n.norm(dim=-1), torch.ones(400))
    assert n.mean(0).abs().max() < 0.01
    torch.testing.assert_close(n.T @ n / 400, torch.eye(3) / 3, atol=0.01, rtol=0)


def test_harmonics_are_orthogonal_to_each_other_and_to_a_constant():
    basis = harmonics(even_directions(4000))
    gram = basis.T @ basis / 4000
    assert (gram - gram.diag().diag()).abs().max() < 0.01
    assert basis.mean(0).abs().max() < 0.01


def test_shading_is_bounded_whatever_the_coefficients():
    light = RoomLight()
    torch.nn.init.normal_(light.coefficients, std=100.0)
    shading = light(even_directions(400))
    assert shading.min() >= 1 - BOUND - 1e-6 and shading.max() <= 1 + BOUND + 1e-6


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.3, -0.8, 0.5)])
@torch.no_grad()
def test_a_lamp_is_brightest_where_it_stands_and_dims_with_the_angle(direction: tuple[float, float, float]):
    towards = torch.tensor(direction)
    light, unit = directional(towards, 0.3), torch.nn.functional.normalize(towards, dim=0)
    around = even_directions(500)
    cosine, shading = around @ unit, light(around)[:, 0]
    assert light(unit)[0] == pytest.approx(1 + 0.3 / np.hypot(1, 0.3 / BOUND), rel=1e-5)
    assert shading.max() <= light(unit)[0] + 1e-6
    # One value per angle: it is symmetric about the lamp, and falls up to the terminator.
    order = cosine.argsort()
    lit = shading[order][cosine[order] > 0]
    assert (lit.diff() > -1e-3).all() and (light(unit) == light(unit)[0]).all()


def test_the_avatar_is_lit_by_its_normals_in_the_world():
    avatar, state = Avatar(default_body()), random_state(default_body(), 0)
    plain = avatar.drawn(state)
    with torch.no_grad():
        avatar.light.coefficients.copy_(directional(torch.tensor([0.0, 0.0, 1.0]), 0.5).coefficients)
    lit = avatar.drawn(state)
    normals = rotation_from_quaternion(lit.quats)[..., 2]
    torch.testing.assert_close(lit.colors, plain.colors * avatar.light(normals), atol=1e-6, rtol=0)
    assert torch.equal(lit.quats, plain.quats) and lit.colors.std() > 0.05


def test_light_bends_no_surface():
    """Colour has a gradient to albedo and light, none to rotation or pose through the shading."""
    avatar = Avatar(default_body())
    torch.nn.init.normal_(avatar.light.coefficients, std=0.1)
    pose = torch.zeros(55, 3, requires_grad=True)
    colors = avatar.posed(pose, torch.zeros(3)).colors
    wanted = [avatar.field.color_logit, avatar.light.coefficients, avatar.field.rotation, pose]
    albedo, light, rotation, posed = torch.autograd.grad(colors.square().sum(), wanted, allow_unused=True)
    assert albedo.abs().sum() > 0 and light.abs().sum() > 0 and rotation is None and posed is None


@pytest.mark.parametrize("count", [5, 1000])
def test_the_kernel_agrees_with_its_twin(count: int):
    """Values and gradients, a third of which are zero as those of unseen Gaussians are."""
    g = torch.Generator().manual_seed(count)
    light = RoomLight()
    with torch.no_grad():
        light.coefficients.copy_(0.5 * torch.randn(8, 3, generator=g))
    quats = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=-1)
    weights = torch.randn(count, 3, generator=g) * (torch.rand(count, 1, generator=g) > 0.3)
    results = []
    for lit in (light.lit, lambda albedo, q: albedo * light(third_axis(q))):
        albedo = torch.rand(count, 3, generator=g.manual_seed(1)).requires_grad_()
        colors = lit(albedo, quats)
        results.append((colors, *torch.autograd.grad((colors * weights).sum(), [albedo, light.coefficients])))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5 * max(1.0, b.abs().max().item()), rtol=0)  # float32 sums, measured 2e-6
