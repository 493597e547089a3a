"""The trainer on a GPU. Kinds: behaviour in numbers, parity with the CPU's kernels, poison, waiting, memory."""

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel
from fmgs_core.raster import cuda
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.picture_loss import picture_losses
from fmgs_core.training.schedule import ScheduleConfig
from fmgs_core.training.trainer import Trainer, TrainerConfig
from fmgs_core.types import Splats
from tests.core.raster.scenes import FIELDS
from tests.core.training.scene import camera, observation, person, state, turn
from tests.core.training.test_picture_loss import scene

pytestmark = pytest.mark.gpu

CONFIG = TrainerConfig(
    backend="cuda",
    memory=MemoryConfig(held_out=2, held_out_every=4),
    schedule=ScheduleConfig(geometry_after_keyframes=3, pose_after_keyframes=4),
)


def trainer_on(count: int, body: BodyModel | None = None) -> Trainer:
    trainer = Trainer(Avatar(body or default_body(), device="cuda"), CONFIG)
    for i, of in enumerate(turn(count)):
        trainer.add(*observation(i, of, camera()), of)
    return trainer


@pytest.mark.parametrize("gaussians", [None, 55_000])
def test_colours_of_unseen_views_are_learned(gaussians: int | None):
    """As on a CPU: held-out PSNR rises by more than 6 dB in 60 steps."""
    body = default_body() if gaussians is None else subdivided(default_body(), gaussians).body
    trainer = trainer_on(12, body)
    before = trainer.held_out_psnr()
    for _ in range(60):
        trainer.step()
    after = trainer.held_out_psnr()
    assert before is not None and after is not None and after > before + 6
    assert trainer.skipped_steps == 0


def test_posing_agrees_with_the_kernels_of_the_cpu():
    """Values and gradients of a bent pose; tolerances as tests/core/avatar/test_binding.py."""
    results = []
    for device in ("cpu", "cuda"):
        avatar = person() if device == "cpu" else Avatar(default_body(), device=device)
        avatar.field.load_state_dict(person().field.state_dict())
        pose = torch.as_tensor(state(0.7, 0.4).pose, device=device).requires_grad_()
        splats = avatar.posed(pose, torch.zeros(3, device=device))
        weights = torch.linspace(-1, 1, 3).to(device)
        loss = (splats.means * weights).sum() + splats.scales.sum()
        results.append((splats, torch.autograd.grad(loss, pose)[0]))
    (a, grad_a), (b, grad_b) = cast(list[tuple[Splats, Tensor]], results)
    for name in FIELDS:
        x, y = getattr(a, name).detach(), getattr(b, name).detach().cpu()
        # A quaternion's sign is free.
        y = torch.where((x * y).sum(-1, keepdim=True) < 0, -y, y) if name == "quats" else y
        torch.testing.assert_close(x, y, atol=2e-5, rtol=1e-4)
    scale = grad_a.abs().max()
    torch.testing.assert_close(grad_a / scale, grad_b.cpu() / scale, atol=2e-4, rtol=0)


@pytest.mark.parametrize("room", [False, True])
def test_the_pictures_loss_agrees_with_the_kernels_of_the_cpu(room: bool):
    rgb, alpha, picture, mask, backdrop, color = scene(90, 60, room)
    grads = []
    for device in ("cpu", "cuda"):
        leaves = [t.detach().to(device).requires_grad_() for t in (rgb, alpha)]
        behind = backdrop and replace(
            backdrop, **{n: getattr(backdrop, n).to(device) for n in ("colors", "known", "mask_trust")}
        )
        losses = picture_losses(leaves[0], leaves[1], picture.to(device), mask.to(device), behind, color.to(device))
        grads.append([g.cpu() for g in torch.autograd.grad(losses.color + losses.mask, leaves)])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a[alpha > 0], b[alpha > 0], atol=1e-4 * b.abs().max().item(), rtol=0)


def test_a_step_waits_for_nothing_but_gsplat(monkeypatch: pytest.MonkeyPatch):
    """The read-back in isect_tiles and the torch.cuda.synchronize() of gsplat's backward pass are its own; reading a report
    is the reader's."""
    trainer = trainer_on(6)
    for _ in range(2 * CONFIG.auxiliary_every):
        trainer.step()  # kernels are loaded at their first use, which waits
    composite = cuda._composite

    def unwatched(*args: object) -> object:
        torch.cuda.set_sync_debug_mode("default")
        try:
            return composite(*args)  # type: ignore[arg-type]
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(cuda, "_composite", unwatched)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(CONFIG.auxiliary_every):
            report = trainer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.is_cuda for value in report.losses.values()) and not bool(report.skipped)


def test_a_gradient_that_is_not_finite_changes_nothing():
    trainer = trainer_on(6)
    for _ in range(4):
        trainer.step()
    before = {name: value.clone() for name, value in trainer.avatar.field.state_dict().items()}
    trainer.avatar.field.color_logit.register_hook(lambda g: g * float("nan"))
    assert bool(trainer.step().skipped) and trainer.skipped_steps == 1
    assert all(torch.equal(before[name], value) for name, value in trainer.avatar.field.state_dict().items())


def test_a_snapshot_lies_on_the_cpu_and_comes_back():
    trainer = trainer_on(3)
    trainer.step()
    snapshot = trainer.snapshot()
    assert all(not value.is_cuda for value in snapshot.tensors.values())
    resumed = Trainer(snapshot.avatar(default_body(), "cuda"), CONFIG)
    resumed.add(*observation(0, state(), camera()), state())
    resumed.step()
    np.testing.assert_array_equal(snapshot.avatar(default_body()).betas, trainer.avatar.betas)


def test_memory_is_flat():
    trainer = trainer_on(6)
    for _ in range(20):
        trainer.step()
    torch.cuda.synchronize()
    start = torch.cuda.memory_allocated()
    for _ in range(200):
        trainer.step()
    torch.cuda.synchronize()
    assert abs(torch.cuda.memory_allocated() - start) < 32 << 20  # crops differ in size; a leak of one crop a step is 200 MB
