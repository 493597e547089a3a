"""One training step after the other, on whatever the stream has shown so far."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.skinning import posed_joints
from fmgs_core.raster import BACKENDS, rasterize
from fmgs_core.training import losses as L
from fmgs_core.training.background import BackgroundConfig, BackgroundPlate
from fmgs_core.training.keyframes import (
    Keyframe,
    KeyframeMemory,
    MemoryConfig,
    ShapeChange,
    face_neighbors,
    make_backdrop,
    make_keyframe,
    pose_descriptor,
)
from fmgs_core.training.routing import Attribute, Route, as_leaves, backpropagate, routed_gradients
from fmgs_core.training.schedule import Schedule, ScheduleConfig
from fmgs_core.types import BodyState, Camera, Channel, Frame, PriorMaps, Rendering, Splats

GEOMETRY_PARAMETERS = ("normal_offset", "rotation", "log_scale")
POSE_PARAMETERS = ("pose", "transl")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the routed losses (method.md: those of depth, normal and label are not printed in the paper)."""

    color: float = 1.0
    mask: float = 0.1
    depth: float = 0.05
    normal: float = 0.05
    label: float = 0.05
    offset_smoothness: float = 200.0
    """On normal_offset against its neighbours, per m^2."""
    scale_decay: float = 1e-3
    rotation_decay: float = 1e-2

    def __post_init__(self):
        _check_sizes(self)


@dataclass(frozen=True)
class LearningRates:
    """Adam's step sizes at full evidence, in each parameter's own unit."""

    normal_offset: float = 1e-3
    rotation: float = 5e-3
    log_scale: float = 1e-2
    opacity_logit: float = 3e-2
    color_logit: float = 5e-2
    logits: float = 5e-2
    pose: float = 5e-3
    transl: float = 1e-3

    def __post_init__(self):
        _check_sizes(self)


def _check_sizes(config: "LossWeights | LearningRates") -> None:
    for name in (f.name for f in fields(config)):
        if not 0 <= getattr(config, name) < float("inf"):
            raise ValueError(f"{type(config).__name__}.{name}: expected zero or more, got {getattr(config, name)}")


@dataclass(frozen=True)
class TrainerConfig:
    weights: LossWeights = field(default_factory=LossWeights)
    rates: LearningRates = field(default_factory=LearningRates)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    background: BackgroundConfig = field(default_factory=BackgroundConfig)
    refine_pose: bool = True
    """Whether keyframe poses are parameters. Off when the poses are known to be true."""
    newest_share: float = 0.25
    """Share of steps spent on the newest frame; the rest revisits the memory."""
    auxiliary_every: int = 4
    """Depth, normal and label losses are taken every so many steps, with their weight times this."""
    backend: str = "cpu"
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.newest_share <= 1:
            raise ValueError(f"TrainerConfig.newest_share: expected 0 to 1, got {self.newest_share}")
        if self.auxiliary_every < 1:
            raise ValueError(f"TrainerConfig.auxiliary_every: expected at least 1, got {self.auxiliary_every}")
        if self.backend not in BACKENDS:
            raise ValueError(f"TrainerConfig.backend: expected one of {BACKENDS}, got {self.backend!r}")


@dataclass(frozen=True)
class StepReport:
    """What one step did."""

    iteration: int
    losses: dict[str, float]
    """Weighted, by name."""
    skipped: bool
    """True when a gradient was not finite and nothing was changed."""


class Trainer:
    """Learns an avatar from keyframes. Not thread-safe: one thread owns it; others read snapshots."""

    def __init__(self, avatar: Avatar, config: TrainerConfig):
        self.avatar, self.config = avatar, config
        self.memory = KeyframeMemory(config.memory.budget)
        self.held_out = KeyframeMemory(max(config.memory.held_out, 1))
        self.schedule = Schedule(config.schedule)
        self.background = BackgroundPlate(config.background)
        self.iterations = self.frames_seen = self.skipped_steps = 0
        self.newest: Keyframe | None = None
        self._neighbors = torch.from_numpy(face_neighbors(avatar.faces.numpy()))
        self._rng = np.random.default_rng(config.seed)
        self._torch_rng = torch.Generator().manual_seed(config.seed)
        self._optimizers = {
            name: torch.optim.Adam([parameter], lr=getattr(config.rates, name), eps=1e-15, fused=True)
            for name, parameter in avatar.field.named_parameters()
        }

    # -- what comes in

    def add(self, frame: Frame, maps: PriorMaps, state: BodyState) -> Keyframe | None:
        """Takes a tracked frame in; returns its keyframe, or None when it showed nothing new.

        The avatar takes over the state's shape; remembered keyframes are moved along.
        """
        self._follow_shape(state.betas)
        self.frames_seen += 1
        if maps.mask is not None:
            self.background.observe(frame, maps.mask)
        joints = posed_joints(self.avatar.body, state)
        novelty = self.memory.novelty(pose_descriptor(joints, frame.camera))
        if novelty < self.config.memory.min_novelty_m:
            return None
        keyframe = make_keyframe(frame, maps, state, joints, self.config.memory.crop_max_px)
        keyframe.room = self.background.room
        if self.config.memory.held_out and self.frames_seen % self.config.memory.held_out_every == 0:
            self.held_out.add(keyframe)
            return keyframe
        self.memory.add(keyframe)
        self.schedule.saw_keyframe(1 / len(self.memory))
        self.newest = keyframe
        return keyframe

    def _follow_shape(self, betas: Float[np.ndarray, " B"]) -> None:
        old = self.avatar.betas.copy()
        if np.abs(old - betas).max() < 1e-3:
            return
        self.avatar.set_betas(betas)
        change = ShapeChange(self.avatar.body, old, betas)
        for keyframe in self._all_keyframes():
            moved = change.reanchored(keyframe.transl.detach().numpy(), keyframe.camera)
            with torch.no_grad():
                keyframe.transl.copy_(torch.from_numpy(moved))

    def _all_keyframes(self) -> Iterator[Keyframe]:
        return itertools.chain(self.memory, self.held_out)

    # -- learning

    def step(self) -> StepReport:
        """One iteration on the newest frame or a remembered one.

        Raises:
            ValueError: no keyframe has been added yet.
        """
        if self.newest is None:
            raise ValueError("Trainer.step: expected at least one keyframe, got none (call add first)")
        keyframe = self._pick()
        learns_pose = self.config.refine_pose and self.schedule.learns_pose
        pose, transl = (x.requires_grad_(learns_pose) for x in (keyframe.pose, keyframe.transl))
        splats = self.avatar.posed(pose, transl)
        leaves = as_leaves(splats)
        auxiliary = self.iterations % self.config.auxiliary_every == 0
        terms = self._losses(self._draw(leaves, keyframe, auxiliary), keyframe, auxiliary)
        gradients = routed_gradients(terms, leaves)
        self._zero_grad(keyframe)
        backpropagate(gradients, splats, list(self.avatar.field.parameters()))
        regularizers = self._regularizers()
        torch.stack(list(regularizers.values())).sum().backward()
        taken = self._apply(keyframe, learns_pose)
        if taken:
            self._observe(gradients)
        self.iterations += 1
        keyframe.visits += 1
        self.schedule.stepped()
        return StepReport(self.iterations, {k: float(v.detach()) for k, v in (terms | regularizers).items()}, not taken)

    def _pick(self) -> Keyframe:
        assert self.newest is not None
        if self._rng.random() < self.config.newest_share * self.schedule.rate:
            return self.newest
        return self.memory[int(self._rng.integers(len(self.memory)))]

    def _draw(self, splats: Splats, keyframe: Keyframe, auxiliary: bool) -> Rendering:
        wanted = {Channel.RGB}
        if auxiliary:
            maps = keyframe.maps
            for channel, value in ((Channel.DEPTH, maps.depth), (Channel.NORMAL, maps.normal), (Channel.LOGITS, maps.labels)):
                if value is not None:
                    wanted.add(channel)
        return rasterize(splats, keyframe.camera, frozenset(wanted), backend=self.config.backend, cull_backfaces=True)

    def _losses(self, rendering: Rendering, keyframe: Keyframe, auxiliary: bool) -> dict[str, Tensor]:
        weights, mask = self.config.weights, keyframe.mask
        # No splat can hide by taking the background's colour when that changes with every step.
        rendered, observed = self._composited(rendering, keyframe, torch.rand(3, generator=self._torch_rng))
        mask_loss = L.mask_loss(rendering.alpha, mask)
        if keyframe.backdrop is not None:
            mask_loss = mask_loss * keyframe.backdrop.mask_trust
        terms = {
            "color": weights.color * L.color_loss(rendered, observed).mean(),
            "mask": weights.mask * mask_loss.mean(),
        }
        if auxiliary:
            scale = self.config.auxiliary_every * keyframe.maps.geometry_trust
            terms |= {k: scale * getattr(weights, k) * v for k, v in self._map_losses(rendering, keyframe).items()}
        return terms

    def _composited(self, rendering: Rendering, keyframe: Keyframe, color: Float[Tensor, "3"]) -> tuple[Tensor, Tensor]:
        """Rendering and picture over one background: the room where it is known, elsewhere `color`, over which the
        observed person is cut out by the mask."""
        assert rendering.rgb is not None
        picture, mask = keyframe.picture(), keyframe.mask[..., None]
        behind = color.expand_as(picture)
        observed = picture * mask + behind * (1 - mask)
        self._refresh_backdrop(keyframe)
        if keyframe.backdrop is not None:
            known = torch.from_numpy(keyframe.backdrop.known)[..., None]
            behind = torch.where(known, torch.from_numpy(keyframe.backdrop.colors).float() / 255, behind)
            observed = torch.where(known, picture, observed)
        return rendering.rgb + behind * (1 - rendering.alpha[..., None]), observed

    def _refresh_backdrop(self, keyframe: Keyframe) -> None:
        version = self.background.version
        if keyframe.backdrop is not None and keyframe.backdrop.version == version:
            return
        if keyframe.room != self.background.room:
            return
        height, width = keyframe.mask.shape
        cut = self.background.crop(*keyframe.box, (width, height))
        keyframe.backdrop = None if cut is None else make_backdrop(version, *cut, keyframe.mask.numpy())

    def _map_losses(self, rendering: Rendering, keyframe: Keyframe) -> dict[str, Tensor]:
        """L_d, L_n and L_s over the pixels where both the prior and the avatar show the person."""
        maps = keyframe.maps
        shown = (keyframe.mask > 0.5) & (rendering.alpha.detach() > 0.5)
        terms = {}
        if maps.normal is not None and rendering.normal is not None:
            prior = torch.from_numpy(maps.normal).float()
            known = shown & (prior.square().sum(-1) > 0.25)
            if known.any():
                terms["normal"] = L.normal_prior_loss(rendering.normal[known], prior[known]).mean()
        if maps.depth is not None and rendering.depth is not None:
            prior = torch.from_numpy(maps.depth).float()
            known = shown & torch.isfinite(prior) & torch.isfinite(rendering.depth.detach())
            if int(known.sum()) > 1:
                terms["depth"] = self._ordinal(rendering.depth[known], prior[known])
        if maps.labels is not None and rendering.logits is not None:
            prior = torch.from_numpy(maps.labels).long()
            known = shown & (prior < rendering.logits.shape[-1])
            if known.any():
                terms["label"] = L.label_loss(rendering.logits[known], prior[known]).mean()
        return terms

    def _ordinal(self, depth: Float[Tensor, " n"], prior: Float[Tensor, " n"]) -> Tensor:
        """Half of the pairs anywhere, half between pixels close in scan order, where tanh has not saturated."""
        n = len(depth)
        a = torch.randint(n, (4096,), generator=self._torch_rng)
        near = (a + torch.randint(1, 24, (4096,), generator=self._torch_rng)).clamp(max=n - 1)
        anywhere = torch.randint(n, (4096,), generator=self._torch_rng)
        b = torch.where(torch.arange(4096) % 2 == 0, near, anywhere)
        margin = 0.01 * float(prior.max() - prior.min())
        return L.ordinal_depth_loss(depth, prior, torch.stack([a, b], -1), margin).mean()

    def _regularizers(self) -> dict[str, Tensor]:
        field, weights = self.avatar.field, self.config.weights
        return {
            "offset_smoothness": weights.offset_smoothness * L.smoothness(field.normal_offset, self._neighbors).mean(),
            "scale_decay": weights.scale_decay * field.log_scale.square().mean(),
            "rotation_decay": weights.rotation_decay * field.rotation.square().mean(),
        }

    def _zero_grad(self, keyframe: Keyframe) -> None:
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        keyframe.pose.grad = keyframe.transl.grad = None

    def _apply(self, keyframe: Keyframe, learns_pose: bool) -> bool:
        """Steps every part that may learn now; does nothing at all when any gradient is not finite."""
        moving: dict[str, torch.optim.Optimizer] = dict(self._optimizers)
        if not self.schedule.learns_geometry:
            moving = {name: o for name, o in moving.items() if name not in GEOMETRY_PARAMETERS}
        if learns_pose:
            moving["keyframe"] = self._pose_optimizer(keyframe)
        gradients = [p.grad for o in moving.values() for g in o.param_groups for p in g["params"] if p.grad is not None]
        if not all(bool(torch.isfinite(g).all()) for g in gradients):
            self.skipped_steps += 1
            return False
        for name, optimizer in moving.items():
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.rate * getattr(self.config.rates, group.get("rate", name))
            optimizer.step()
        return True

    def _pose_optimizer(self, keyframe: Keyframe) -> torch.optim.Optimizer:
        if keyframe.optimizer is None:
            groups = [{"params": [getattr(keyframe, name)], "rate": name} for name in POSE_PARAMETERS]
            keyframe.optimizer = torch.optim.Adam(groups, eps=1e-15)
        return keyframe.optimizer

    def _observe(self, gradients: list[tuple[Route, dict[Attribute, Tensor]]]) -> None:
        """A colour gradient is the light a Gaussian carried to this picture's error; where there is one, it was seen."""
        for _, grads in gradients:
            if Attribute.COLOR in grads:
                self.avatar.observed += grads[Attribute.COLOR].abs().sum(-1) > 0

    # -- what goes out

    def snapshot(self) -> AvatarSnapshot:
        return AvatarSnapshot.of(self.avatar, self.iterations, self.frames_seen)

    @torch.no_grad()
    def held_out_psnr(self) -> float | None:
        """Mean PSNR [dB] over the held-out keyframes' crops, over the room where it is known; None while there are none."""
        if not len(self.held_out):
            return None
        values = []
        for keyframe in self.held_out:
            rendering = self._draw(self.avatar.posed(keyframe.pose, keyframe.transl), keyframe, auxiliary=False)
            rendered, observed = self._composited(rendering, keyframe, torch.zeros(3))
            error = (rendered - observed).square().mean()
            values.append(float(-10 * torch.log10(error.clamp_min(1e-10))))
        return float(np.mean(values))

    def final_states(self, tracked: dict[int, tuple[BodyState, Camera]]) -> dict[int, BodyState]:
        """Body states by stamp with the avatar's final shape: poses of remembered keyframes as they were refined, others
        as tracked, moved along with the change of shape.

        Args:
            tracked: state and camera of each frame as they were when the frame came.
        """
        body, betas = self.avatar.body, self.avatar.betas.copy()
        states = {
            stamp: replace(state, betas=betas, transl=ShapeChange(body, state.betas, betas).reanchored(state.transl, camera))
            for stamp, (state, camera) in tracked.items()
        }
        for keyframe in self._all_keyframes():
            pose, transl = keyframe.pose.detach().numpy().copy(), keyframe.transl.detach().numpy().copy()
            states[keyframe.stamp_ns] = replace(states[keyframe.stamp_ns], pose=pose, transl=transl)
        return states
