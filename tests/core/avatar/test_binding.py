"""Parity of the posing kernels with their torch twin, on values and on every gradient, down to pose and translation."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from fmgs_core.avatar.binding import FaceBinding, bind_faces, face_weights, pose_splats, pose_splats_reference
from fmgs_core.avatar.fields import FaceAttributes
from fmgs_core.body.skinning import Skinning
from fmgs_core.geometry import rotation_from_quaternion

from .bodies import tube

PARENTS = np.array([-1, 0, 0, 1, 3])


def scene(seed: int, num_faces: int = 400) -> tuple[FaceBinding, FaceAttributes, Skinning, Tensor, Tensor, Tensor]:
    """Loose triangles on a skeleton of five joints with a fork, three weights each; one joint unbent."""
    g = torch.Generator().manual_seed(seed)
    vertices = torch.randn(num_faces * 3, 3, generator=g)
    faces = torch.randperm(num_faces * 3, generator=g).reshape(-1, 3)
    weights = torch.rand(num_faces * 3, 5, generator=g) * (torch.rand(num_faces * 3, 5, generator=g) < 0.4) + 1e-3
    binding = bind_faces(vertices, faces, face_weights(weights / weights.sum(1, keepdim=True), faces))
    rotation = 0.5 * torch.randn(num_faces, 3, generator=g)
    rotation[: num_faces // 4] = 0  # where a naive norm has a NaN gradient
    attributes = FaceAttributes(
        normal_offset=0.1 * torch.randn(num_faces, generator=g),
        rotation=rotation,
        log_scale=0.1 * torch.randn(num_faces, 2, generator=g),
        opacity=torch.rand(num_faces, generator=g),
        color=torch.rand(num_faces, 3, generator=g),
        logits=torch.randn(num_faces, 4, generator=g),
    )
    pose = 0.8 * torch.randn(5, 3, generator=g)
    pose[2] = 0
    return binding, attributes, skeleton(), torch.randn(5, 3, generator=g), pose, torch.randn(3, generator=g)


def skeleton() -> Skinning:
    """A body's skinning whose joints are replaced by PARENTS; what concerns vertices is not used here."""
    skinning = Skinning(tube())
    levels = [(torch.tensor(joints), torch.tensor(above)) for joints, above in (([1, 2], [0, 0]), ([3], [0]), ([4], [0]))]
    skinning.parents, skinning.num_joints = PARENTS, 5
    skinning._parents, skinning._levels, skinning._order = torch.from_numpy(PARENTS.clip(min=0)), levels, torch.arange(5)
    return skinning


@pytest.mark.parametrize("seed", [0, 1])
def test_kernel_and_twin_agree(seed):
    inputs = scene(seed)
    _, attributes, _, _, pose, transl = inputs
    leaves = [attributes.normal_offset, attributes.rotation, attributes.log_scale, pose, transl]
    for x in leaves:
        x.requires_grad_()
    g = torch.Generator().manual_seed(seed)
    K = len(inputs[0].centers)
    weights = torch.randn(K, 3, generator=g), torch.randn(K, 3, 3, generator=g), torch.randn(K, 2, generator=g)
    results = []
    for posed in (pose_splats, pose_splats_reference):
        splats = posed(*inputs)
        R = rotation_from_quaternion(splats.quats)  # a quaternion's sign is free, its rotation is not
        loss = (splats.means * weights[0]).sum() + (R * weights[1]).sum() + (splats.scales * weights[2]).sum()
        results.append(((splats.means, R, splats.scales), torch.autograd.grad(loss, leaves)))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)  # measured need 3e-6
    for a, b in zip(results[0][1], results[1][1], strict=True):
        scale = b.abs().max()
        torch.testing.assert_close(a / scale, b / scale, atol=2e-4, rtol=0)


def test_equal_input_gives_equal_bits():
    first, second = scene(3), scene(3)
    for inputs in (first, second):
        inputs[4].requires_grad_()
        pose_splats(*inputs).means.square().sum().backward()
    assert torch.equal(cast(Tensor, first[4].grad), cast(Tensor, second[4].grad))


def test_stopped_pose_receives_no_gradient():
    inputs = scene(2)
    rotation, pose = inputs[1].rotation.requires_grad_(), inputs[4].requires_grad_()
    splats = pose_splats(*inputs)
    torch.autograd.backward([splats.quats], [torch.ones_like(splats.quats)], inputs=[rotation])
    assert pose.grad is None
    assert cast(Tensor, rotation.grad).abs().sum() > 0
