"""Gaussians that no face holds. Kinds: closed form, property, non-zero gradients, round trip."""

from pathlib import Path

import numpy as np
import torch

from fmgs_core.avatar.binding import displaced_centers
from fmgs_core.avatar.fields import FieldConfig
from fmgs_core.avatar.mixed_field import MixedField
from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot, load_avatar, save_avatar
from fmgs_core.avatar.surface import surface_mesh
from fmgs_core.geometry import rotation_from_axis_angle
from fmgs_core.rendering.pictures import draw
from fmgs_core.types import BodyState, Camera, Channel

from .bodies import RINGS, SEGMENTS, tube

UNBOUND = FieldConfig(geometry="unbound")
BENT = torch.tensor([[0.1, 0.4, 0.0], [0.5, 0.0, 0.2], [0.0, 0.3, -0.4]])


def avatar() -> Avatar:
    return Avatar(tube(), np.array([0.3, -0.4], np.float32), num_classes=5, fields=UNBOUND)


def field_of(of: Avatar) -> MixedField:
    assert isinstance(of.field, MixedField)
    return of.field


def test_at_the_start_they_point_everywhere():
    normals = rotation_from_axis_angle(field_of(avatar()).rotation.detach())[..., 2]
    # 768 random directions: their mean and their second moments have a spread of 0.02.
    assert normals.mean(0).abs().max() < 0.1
    torch.testing.assert_close(normals.T @ normals / len(normals), torch.eye(3) / 3, atol=0.1, rtol=0)


def test_they_move_along_all_three_axes_of_the_face():
    free = avatar()
    field = field_of(free)
    with torch.no_grad():
        field.tangent_offset.copy_(torch.tensor([0.02, -0.03]))
        field.normal_offset.fill_(0.01)
    moved = displaced_centers(free.binding, free.at_rest()) - free.binding.centers
    expected = free.binding.frames @ torch.tensor([0.02, -0.03, 0.01])
    torch.testing.assert_close(moved, expected, atol=1e-6, rtol=0)  # rounding of positions of about 1 m


def test_the_bones_carry_them_with_their_displacement():
    """A face's transform, and not its plane, is what they follow."""
    free = avatar()
    at_face = free.posed(BENT, torch.zeros(3)).means
    with torch.no_grad():
        field_of(free).tangent_offset.copy_(torch.tensor([0.05, 0.0]))
    moved = free.posed(BENT, torch.zeros(3)).means - at_face
    T = free.binding.weights.dense @ free.skinning.bone_transforms(BENT, free._rest[1]).flatten(1)
    expected = T.unflatten(-1, (3, 4))[..., :3] @ (0.05 * free.binding.frames[..., 0])[..., None]
    torch.testing.assert_close(moved, expected[..., 0], atol=1e-6, rtol=0)  # rounding of positions of about 1 m


def test_every_direction_learns():
    free = avatar()
    splats = free.posed(BENT, torch.zeros(3))
    (splats.means.square().sum() + (splats.quats[:, 0] ** 2).sum()).backward()
    for name in ("tangent_offset", "normal_offset", "rotation"):
        gradient = getattr(field_of(free), name).grad
        assert gradient is not None and (gradient != 0).any(), name


def test_they_have_no_back():
    """A disc that is turned over looks the same; one of a free field would be gone."""
    K, T = np.array([[120.0, 0, 32], [0, 120.0, 32], [0, 0, 1]]), np.eye(4)
    T[:3, 3] = (0, -0.5, 3.0)
    camera, state = Camera(K, 64, 64, T), BodyState(np.zeros(2), np.zeros((3, 3)), np.zeros(3), np.zeros(1))
    free = avatar()
    field = field_of(free)
    alphas = []
    for over in (0.0, np.pi):
        with torch.no_grad():
            field.rotation.copy_(torch.tensor([over, 0.0, 0.0]))
        alphas.append(draw(free, state, camera, frozenset({Channel.RGB})).alpha)
    assert alphas[0].max() > 0.9
    torch.testing.assert_close(*alphas, atol=1e-4, rtol=0)  # half a turn in float32 is off by 1e-7 rad, over many layers


def test_their_surface_is_where_they_are():
    inner = slice(SEGMENTS, (RINGS - 1) * SEGMENTS)
    free = avatar()
    at_face = surface_mesh(free, free.betas)[0]
    with torch.no_grad():
        field_of(free).normal_offset.fill_(0.05)
    outwards = (surface_mesh(free, free.betas)[0] - at_face)[inner]
    # A vertex's faces point 22.5 degrees apart: the mean of their displacements is shorter than 50 mm by their tilt.
    np.testing.assert_allclose(np.linalg.norm(outwards, axis=1), 0.05, atol=2e-3)
    with torch.no_grad():
        field_of(free).normal_offset.zero_()
        field_of(free).tangent_offset[:, 0] = 0.02
    assert np.abs(surface_mesh(free, free.betas)[0] - at_face)[inner].max() > 0.01


def test_they_come_back_from_their_file(tmp_path: Path):
    free = avatar()
    with torch.no_grad():
        field_of(free).tangent_offset.normal_()
    save_avatar(tmp_path / "avatar.safetensors", AvatarSnapshot.of(free, 1, 2))
    loaded = load_avatar(tmp_path / "avatar.safetensors").avatar(tube())
    assert loaded.fields == UNBOUND
    assert torch.equal(loaded.posed(BENT, torch.zeros(3)).means, free.posed(BENT, torch.zeros(3)).means)
