"""Hash grids and the fields over them on a GPU. Kinds: parity with the CPU's kernels, waiting, behaviour in numbers."""

import numpy as np
import pytest
import torch

from fmgs_core.avatar.fields import FieldConfig
from fmgs_core.avatar.hash_grid import GridConfig, HashLookup, encoded
from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.trainer import Trainer, TrainerConfig
from tests.core.training.scene import camera, observation, state, turn

pytestmark = pytest.mark.gpu

HASHED = FieldConfig("hash", "hash", "hash")


def test_the_encoding_agrees_with_the_kernels_of_the_cpu():
    config, results = GridConfig(), []
    table, points = torch.randn(config.level_starts[-1], 2), torch.rand(20_000, 3)
    upstream = torch.randn(config.width, len(points))
    for device in ("cpu", "cuda"):
        leaf = table.to(device).requires_grad_()
        out = encoded(leaf, HashLookup.of(points.to(device), config))
        (gradient,) = torch.autograd.grad(out, leaf, upstream.to(device))
        results.append((out.detach().cpu(), gradient.cpu()))
    # A point's cell is found in float32: fused multiply-adds may put one that lies on a side into the next cell, where it
    # weighs the same corners.
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-3, rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=5e-3, rtol=1e-3)


def test_fields_say_the_same_as_on_the_cpu():
    pose = torch.from_numpy(state(0.5, 0.3).pose)
    results = []
    for device in ("cpu", "cuda"):
        avatar = Avatar(default_body(), device=device, fields=HASHED)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for value in avatar.field.parameters():
                value.add_(0.05 * torch.randn(value.shape, generator=generator).to(device))
        results.append(avatar.attributes(pose.to(device), torch.zeros(3, device=device), camera()))
    for name, value in results[0].tensors().items():
        torch.testing.assert_close(value, results[1].tensors()[name].cpu(), atol=2e-3, rtol=0)


def test_equal_input_gives_equal_bits():
    """embedding_bag sorts its rows before it sums, and does not add atomically."""
    config = GridConfig()
    lookup = HashLookup.of(torch.rand(5_000, 3, device="cuda"), config)
    table = torch.randn(config.level_starts[-1], 2, device="cuda", requires_grad=True)
    upstream = torch.randn(config.width, 5_000, device="cuda")
    gradients = [torch.autograd.grad(encoded(table, lookup), table, upstream)[0] for _ in range(2)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("fields", [HASHED, FieldConfig("hash", "hash", "hash", "field")], ids=str)
def test_fields_learn(fields: FieldConfig):
    config = TrainerConfig(backend="cuda", schedule=ScheduleConfig(geometry_after_keyframes=3, pose_after_keyframes=4))
    trainer = Trainer(Avatar(default_body(), device="cuda", fields=fields), config)
    for i, of in enumerate(turn(4)):
        trainer.add(*observation(i, of, camera()), of)
    losses = [float(trainer.step().losses["color"]) for _ in range(40)]
    assert trainer.skipped_steps == 0 and np.mean(losses[-4:]) < 0.7 * np.mean(losses[:4])
