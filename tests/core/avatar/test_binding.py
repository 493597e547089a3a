"""Parity of the posing kernels with their torch twin, on values and on every gradient."""

import pytest
import torch

from fmgs_core.avatar.binding import bind_faces, face_skin_weights, pose_splats, pose_splats_reference
from fmgs_core.avatar.fields import FaceAttributes
from fmgs_core.geometry import rotation_from_axis_angle, rotation_from_quaternion


def scene(seed: int, num_faces: int = 400, dtype: torch.dtype = torch.float32):
    g = torch.Generator().manual_seed(seed)
    vertices = torch.randn(num_faces * 3, 3, generator=g)
    faces = torch.randperm(num_faces * 3, generator=g).reshape(-1, 3)
    weights = torch.rand(num_faces * 3, 5, generator=g)
    binding = bind_faces(vertices, faces, face_skin_weights(weights / weights.sum(1, keepdim=True), faces))
    R = rotation_from_axis_angle(0.4 * torch.randn(5, 3, generator=g))
    bones = torch.cat([R, torch.randn(5, 3, 1, generator=g)], -1)
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
    return binding, attributes, bones, torch.randn(3, generator=g)


@pytest.mark.parametrize("seed", [0, 1])
def test_kernel_and_twin_agree(seed):
    inputs = scene(seed)
    for x in (inputs[1].normal_offset, inputs[1].rotation, inputs[1].log_scale, inputs[2], inputs[3]):
        x.requires_grad_()
    leaves = [inputs[1].normal_offset, inputs[1].rotation, inputs[1].log_scale, inputs[2], inputs[3]]
    g = torch.Generator().manual_seed(seed)
    K = len(inputs[0].centers)
    weights = torch.randn(K, 3, generator=g), torch.randn(K, 3, 3, generator=g), torch.randn(K, 2, generator=g)
    results = []
    for pose in (pose_splats, pose_splats_reference):
        splats = pose(*inputs)
        R = rotation_from_quaternion(splats.quats)  # a quaternion's sign is free, its rotation is not
        loss = (splats.means * weights[0]).sum() + (R * weights[1]).sum() + (splats.scales * weights[2]).sum()
        results.append(((splats.means, R, splats.scales), torch.autograd.grad(loss, leaves)))
    for a, b in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)  # measured need 3e-6
    for a, b in zip(results[0][1], results[1][1], strict=True):
        scale = b.abs().max()
        torch.testing.assert_close(a / scale, b / scale, atol=2e-4, rtol=0)


def test_stopped_pose_leaves_no_gradient_on_bones():
    binding, attributes, bones, transl = scene(2)
    bones.requires_grad_()
    attributes.rotation.requires_grad_()
    splats = pose_splats(binding, attributes, bones, transl)
    torch.autograd.backward([splats.quats], [torch.ones_like(splats.quats)], inputs=[attributes.rotation])
    assert bones.grad is None
    assert attributes.rotation.grad.abs().sum() > 0
