"""One training step after the other, on whatever the stream has shown so far."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.avatar.fields import FaceAttributes
from fmgs_core.avatar.mixed_field import MixedField
from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.skinning import posed_joints
from fmgs_core.body.subdivision import Subdivision
from fmgs_core.priors import DeviceMaps
from fmgs_core.raster import BACKENDS, rasterize
from fmgs_core.training import losses as L
from fmgs_core.training.ambience import UnseenDirections
from fmgs_core.training.attribute_leaves import attribute_leaves, carry_on, moved_without_pose
from fmgs_core.training.auxiliary import auxiliary_channels, has_maps, map_losses, rendering_losses, splat_losses
from fmgs_core.training.background import BackgroundConfig, BackgroundPlate
from fmgs_core.training.coverage import view_yaw_deg
from fmgs_core.training.cuts import KINDS, known_maps
from fmgs_core.training.device_cuts import known_device_maps
from fmgs_core.training.exposure import exposed, exposure_gain, mean_gain
from fmgs_core.training.growth import inherit_moments
from fmgs_core.training.keyframes import (
    Keyframe,
    KeyframeMemory,
    MemoryConfig,
    ShapeChange,
    face_neighbors,
    make_keyframe,
    pose_descriptor,
)
from fmgs_core.training.picture_loss import composited, picture_losses
from fmgs_core.training.routing import ROUTINGS, Attribute, Route, as_leaves, backpropagate, routed_gradients
from fmgs_core.training.schedule import Part, Schedule, ScheduleConfig
from fmgs_core.training.surface import SurfaceEdges, surface_inconsistency
from fmgs_core.training.targets import make_backdrop
from fmgs_core.training.weights import LearningRates, LossWeights
from fmgs_core.types import BodyState, Camera, Channel, Frame, PriorMaps, Rendering, Splats

GEOMETRY_PARAMETERS = ("normal_offset", "tangent_offset", "rotation", "log_scale")
GEOMETRY_FIELDS = ("geometry", "skinning")
POSE_PARAMETERS = ("pose", "transl")
SAME_SHAPE = (
    0.03  # standard deviations: two millimetres of height. The tracker's shape moves with every frame; following takes 4 ms
)
SEEN_SHARE = 0.5  # below, colours after half a turn are 0.17 to 0.26 of 1 beside those after a whole one, above 0.04 to 0.1


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
    """The losses beside colour and mask are taken every so many steps, with their weight times this, where there are maps."""
    routing: str = "coordinated"
    """"coordinated": each loss moves what routing.ROUTING says. "none": all that it can reach; for comparison."""
    backend: str = "cpu"
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.newest_share <= 1:
            raise ValueError(f"TrainerConfig.newest_share: expected 0 to 1, got {self.newest_share}")
        if self.auxiliary_every < 1:
            raise ValueError(f"TrainerConfig.auxiliary_every: expected at least 1, got {self.auxiliary_every}")
        for name, allowed in (("routing", ROUTINGS), ("backend", BACKENDS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"TrainerConfig.{name}: expected one of {allowed}, got {getattr(self, name)!r}")

    @property
    def device(self) -> torch.device:
        """Where avatar and keyframes live."""
        return torch.device("cuda" if self.backend == "cuda" else "cpu")


@dataclass(frozen=True)
class StepReport:
    """What one step did. On a GPU, reading a tensor waits for the step to end."""

    iteration: int
    losses: dict[str, Float[Tensor, ""]]
    """Weighted, by name."""
    skipped: Float[Tensor, ""]
    """1 when a gradient was not finite and nothing was changed, else 0."""


class Trainer:
    """Learns an avatar from keyframes. Not thread-safe: one thread owns it; others read snapshots.

    Raises:
        ValueError: the avatar is on another device than the config's backend needs.
    """

    def __init__(self, avatar: Avatar, config: TrainerConfig):
        if avatar.device.type != config.device.type:
            raise ValueError(f"avatar: expected it on {config.device} for backend {config.backend!r}, got {avatar.device}")
        self.avatar, self.config = avatar, config
        self.memory = KeyframeMemory(config.memory.budget, config.memory.least_trust)
        self.held_out = KeyframeMemory(max(config.memory.held_out, 1))
        self.schedule = Schedule(config.schedule, self._parts())
        self.background = BackgroundPlate(config.background)
        self.iterations = self.frames_seen = 0
        self._skipped_steps = torch.zeros((), device=avatar.device)
        self.newest: Keyframe | None = None
        self._mean_gain: Tensor | None = None
        self._least_trust: dict[str, float] = {}
        self._know_neighbors()
        self._rng = np.random.default_rng(config.seed)
        self._torch_rng = torch.Generator(avatar.device).manual_seed(config.seed)
        self._unseen = UnseenDirections(avatar.device)
        self._optimizer = _adam(self._parameters())

    def _parts(self) -> Iterator[Part]:
        """What waits for evidence, of what there is."""
        yield Part.GEOMETRY
        if self.config.refine_pose:
            yield Part.POSE
        if self.avatar.fields.skinning == "field":
            yield Part.SKINNING

    def _know_neighbors(self) -> None:
        self._neighbors = torch.from_numpy(face_neighbors(self.avatar.faces.cpu().numpy())).to(self.avatar.device)
        self._edges = SurfaceEdges.of(self.avatar.binding, self._neighbors)

    def _parameters(self) -> Mapping[str, Tensor]:
        return dict(self.avatar.field.named_parameters()) | {"light": self.avatar.light.coefficients}

    @property
    def skipped_steps(self) -> int:
        """Steps that changed nothing because a gradient was not finite. Reading it waits for a GPU."""
        return int(self._skipped_steps)

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
        self.schedule.saw_frame(view_yaw_deg(frame.camera, joints[0], state.pose[0]))
        novelty = self.memory.novelty(pose_descriptor(joints, frame.camera))
        if novelty < self.config.memory.min_novelty_m:
            return None
        keyframe = make_keyframe(
            frame, maps, state, joints, self.config.memory.crop_max_px, self.avatar.device, self.avatar.field.num_classes
        )
        keyframe.maps = keyframe.maps.at_least(self._least_trust)
        keyframe.room = self.background.room
        keyframe.gain = exposure_gain(self.background.gain, self.avatar.device)
        self._unseen.saw(frame.camera, torch.from_numpy(joints[0]))
        if self.config.memory.held_out and self.frames_seen % self.config.memory.held_out_every == 0:
            self.held_out.add(keyframe)
            return keyframe
        self.memory.add(keyframe)
        self._mean_gain = mean_gain(self.memory)
        self.schedule.saw_keyframe(1 / len(self.memory))
        self.newest = keyframe
        return keyframe

    def attach(self, stamp_ns: int, maps: PriorMaps | DeviceMaps) -> bool:
        """Normals, depth and labels of a remembered frame, by a model that took its time. They take the place of what the
        keyframe has of their kind, as if they had come with it; the mask stays. Their losses are on from the next step.

        What is trusted less of the same kind is forgotten on all keyframes, and not learned from any more: beside 6 keyframes
        with true maps of gt/dressed_a the template's on the other 85 keep normals at 9.7 degrees instead of 6.9, and miou28 at
        0.62 instead of 0.88.

        Returns:
            False when the frame is not remembered (any more).

        Raises:
            ValueError: maps of another size than the frame, or labels of an unknown set.
        """
        keyframe = next((k for k in self._all_keyframes() if k.stamp_ns == stamp_ns), None)
        if keyframe is None:
            return False
        person, num_classes = keyframe.mask > 0.5, self.avatar.field.num_classes
        if isinstance(maps, DeviceMaps):
            late = known_device_maps(maps, keyframe.cut, person, num_classes)
        else:
            late = known_maps(maps, keyframe.cut, person.cpu().numpy(), self.avatar.device, num_classes)
        keyframe.maps = keyframe.maps.under(late)
        for kind in KINDS:
            if getattr(maps, kind) is not None:
                self._least_trust[kind] = max(self._least_trust.get(kind, 0.0), maps.geometry_trust)
        for other in self._all_keyframes():
            other.maps = other.maps.at_least(self._least_trust)
        return True

    def _follow_shape(self, betas: Float[np.ndarray, " B"]) -> None:
        old = self.avatar.betas.copy()
        if np.abs(old - betas).max() < SAME_SHAPE:
            return
        self.avatar.set_betas(betas)
        self._edges = SurfaceEdges.of(self.avatar.binding, self._neighbors)
        change = ShapeChange(self.avatar.body, old, betas)
        for keyframe in self._all_keyframes():
            moved = change.reanchored(keyframe.transl.detach().cpu().numpy(), keyframe.camera)
            with torch.no_grad():
                keyframe.transl.copy_(torch.from_numpy(moved))

    def restate(self, states: Mapping[int, BodyState]) -> None:
        """Poses of remembered keyframes that are known better by what came after them; refining them starts over there.

        Args:
            states: by stamp; of a shape within the tracker's of now.
        """
        change = None  # the states of one look are of one shape, and measuring it takes a millisecond
        for keyframe in self._all_keyframes():
            state = states.get(keyframe.stamp_ns)
            if state is None:
                continue
            if change is None or not np.array_equal(change.old, state.betas):
                change = ShapeChange(self.avatar.body, state.betas, self.avatar.betas)
            transl = change.reanchored(state.transl, keyframe.camera)
            with torch.no_grad():
                keyframe.pose.copy_(torch.from_numpy(np.asarray(state.pose, np.float32)))
                keyframe.transl.copy_(torch.from_numpy(transl))
            keyframe.optimizer = None

    def _all_keyframes(self) -> Iterator[Keyframe]:
        return itertools.chain(self.memory, self.held_out)

    def keyframe_stamps(self) -> set[int]:
        """Of those that are remembered, held-out ones included."""
        return {keyframe.stamp_ns for keyframe in self._all_keyframes()}

    # -- learning

    def grow(self, division: Subdivision) -> None:
        """Goes on with more Gaussians (see Avatar.grow); poses, memory, light and schedule stay.

        Raises:
            ValueError: what was divided is not the avatar's body.
        """
        parents = self.avatar.grow(division)
        self._know_neighbors()
        late, self._optimizer = self._optimizer, _adam(self._parameters())
        inherit_moments(self._optimizer, late, parents)

    def step(self) -> StepReport:
        """One iteration on the newest frame or a remembered one.

        Raises:
            ValueError: no keyframe has been added yet.
        """
        if self.newest is None:
            raise ValueError("Trainer.step: expected at least one keyframe, got none (call add first)")
        auxiliary = self.iterations % self.config.auxiliary_every == 0
        keyframe = self._pick(auxiliary)
        learns_pose = self.schedule.learns_pose
        pose, transl = (x.requires_grad_(learns_pose) for x in (keyframe.pose, keyframe.transl))
        said = self.avatar.attributes(pose, transl, keyframe.camera)
        attributes = attribute_leaves(said)
        splats = self.avatar.posed(pose, transl, attributes=attributes)
        leaves = as_leaves(splats)
        terms = self._picture_losses(rendering := self._draw(leaves, keyframe, auxiliary), keyframe)
        if auxiliary:
            terms |= self._auxiliary_losses(rendering, leaves, keyframe)
        gradients = routed_gradients(terms, leaves, self.config.routing)
        self._optimizer.zero_grad()
        keyframe.pose.grad = keyframe.transl.grad = None
        backpropagate(gradients, splats, moved_without_pose(attributes))
        regularizers = self._regularizers(attributes)
        torch.stack(list(regularizers.values())).sum().backward()
        carry_on(said, attributes)
        skipped = self._apply(keyframe, learns_pose)
        self._observe(gradients, leaves.scales, skipped)
        self.iterations += 1
        keyframe.visits += 1
        self.schedule.stepped(terms["color"])
        return StepReport(self.iterations, {k: v.detach() for k, v in (terms | regularizers).items()}, skipped)

    def _pick(self, auxiliary: bool) -> Keyframe:
        """An auxiliary step goes to a keyframe with maps if there is one, and where those are few, the other steps go to the
        others, so that all are visited about equally often. A network that is slow gives maps for some frames only."""
        assert self.newest is not None
        share = self.config.newest_share * self.schedule.rate * self.newest.trust
        if self._rng.random() < share and (has_maps(self.newest) or not auxiliary):
            return self.newest
        with_maps, bare = ([k for k in self.memory if has_maps(k) == known] for known in (True, False))
        few = len(with_maps) * self.config.auxiliary_every < len(self.memory)
        choice = with_maps if auxiliary else bare if few else list(self.memory)
        choice = choice or list(self.memory)
        while True:  # as often as each is trusted
            keyframe = choice[int(self._rng.integers(len(choice)))]
            if keyframe.trust == 1 or self._rng.random() < keyframe.trust:
                return keyframe

    def _draw(self, splats: Splats, keyframe: Keyframe, auxiliary: bool) -> Rendering:
        wanted = {Channel.RGB}
        if auxiliary:
            wanted |= auxiliary_channels(keyframe, self.config.weights)
        return rasterize(
            splats,
            keyframe.camera,
            frozenset(wanted),
            backend=self.config.backend,
            cull_backfaces=not self.avatar.fields.two_sided,
        )

    def _picture_losses(self, rendering: Rendering, keyframe: Keyframe) -> dict[str, Tensor]:
        assert rendering.rgb is not None
        self._refresh_backdrop(keyframe)
        # No splat can hide by taking the background's colour when that changes with every step.
        color = torch.rand(3, generator=self._torch_rng, device=self.avatar.device)
        rgb = exposed(rendering.rgb, keyframe.gain, self._mean_gain)
        picture = picture_losses(rgb, rendering.alpha, keyframe.rgb, keyframe.mask, keyframe.backdrop, color)
        weights = self.config.weights
        return {"color": weights.color * picture.color, "mask": weights.mask * picture.mask}

    def _auxiliary_losses(self, rendering: Rendering, splats: Splats, keyframe: Keyframe) -> dict[str, Tensor]:
        weights, rest = self.config.weights, None
        if weights.isometry or weights.covariance_isometry:
            with torch.no_grad():
                rest = self.avatar.posed(torch.zeros_like(keyframe.pose), torch.zeros_like(keyframe.transl))
        terms = map_losses(rendering, keyframe, weights, self._torch_rng)
        terms |= rendering_losses(rendering, keyframe, weights) | splat_losses(splats, rest, self._neighbors, weights)
        return {name: self.config.auxiliary_every * term for name, term in terms.items()}

    def _refresh_backdrop(self, keyframe: Keyframe) -> None:
        version = self.background.version
        if keyframe.backdrop is not None and keyframe.backdrop.version == version:
            return
        if keyframe.room != self.background.room:
            return
        height, width = keyframe.mask.shape
        cut = self.background.crop(*keyframe.cut.box, (width, height))
        if cut is not None:
            settled = self.background.settled if self.config.background.strangers else None
            cut = make_backdrop(version, *cut, keyframe.mask, keyframe.rgb, keyframe.gain, settled)
        keyframe.backdrop = cut

    def _regularizers(self, field: FaceAttributes) -> dict[str, Tensor]:
        weights = self.config.weights
        terms = {
            "offset_smoothness": weights.offset_smoothness * L.smoothness(field.normal_offset, self._neighbors).mean(),
            "scale_decay": weights.scale_decay * field.log_scale.square().mean(),
            "rotation_decay": weights.rotation_decay * field.rotation.square().mean(),
            "light_unseen": weights.light_unseen * self._unseen.unevenness(self.avatar.light),
            "light_decay": weights.light_decay * self.avatar.light.coefficients.square().sum(),
        }
        if weights.surface:
            error = surface_inconsistency(field.normal_offset, field.rotation, self._edges)
            terms["surface"] = weights.surface * error
        if isinstance(self.avatar.field, MixedField) and self.avatar.fields.skinning == "field":
            weight = weights.skinning_later if self.schedule.frees_skinning else weights.skinning
            terms["skinning"] = weight * self.avatar.field.skinning_loss(self._torch_rng)
        return terms

    def _apply(self, keyframe: Keyframe, learns_pose: bool) -> Float[Tensor, ""]:
        """Steps every part that may learn now; returns 1 when a gradient was not finite and nothing was changed."""
        if not self.schedule.learns_geometry:
            for name, parameter in self.avatar.field.named_parameters():
                if name.split(".")[0] in (*GEOMETRY_PARAMETERS, *GEOMETRY_FIELDS):
                    parameter.grad = None
        optimizers: list[torch.optim.Optimizer] = [self._optimizer]
        if learns_pose:
            keyframe.optimizer = keyframe.optimizer or _adam({name: getattr(keyframe, name) for name in POSE_PARAMETERS})
            optimizers.append(keyframe.optimizer)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        gradients = [group["params"][0].grad for group in groups]
        sums = torch.stack([g.sum() for g in gradients if g is not None])
        skipped = (~torch.isfinite(sums.sum())).float()
        for group in groups:
            group["lr"] = self.schedule.rate * getattr(self.config.rates, _rate_name(group["name"]))
        for optimizer in optimizers:
            # torch.amp.GradScaler's door: fused Adam leaves everything as it is when found_inf is 1, without asking the host.
            optimizer.found_inf = skipped  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
        self._skipped_steps += skipped
        return skipped

    def _observe(
        self, gradients: list[tuple[Route, dict[Attribute, Tensor]]], scales: Float[Tensor, "N 2"], skipped: Float[Tensor, ""]
    ) -> None:
        """A colour gradient is the light a Gaussian carried to this picture's error; one with half of the mean, for its area,
        was seen. What shows edge-on, or through others, has a little too, and Adam makes as large steps of it."""
        for _, grads in gradients:
            if Attribute.COLOR in grads:
                light, area = grads[Attribute.COLOR].abs().sum(-1), scales.detach().prod(-1)
                lit_area = (area * (light > 0)).sum()
                self.avatar.observed += (light * lit_area > SEEN_SHARE * light.sum() * area) * (1 - skipped)

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
            rendering = self._draw(
                self.avatar.posed(keyframe.pose, keyframe.transl, camera=keyframe.camera), keyframe, auxiliary=False
            )
            self._refresh_backdrop(keyframe)
            assert rendering.rgb is not None
            rgb = exposed(rendering.rgb, keyframe.gain, self._mean_gain)
            pictures = rgb, rendering.alpha, keyframe.rgb, keyframe.mask
            rendered, observed = composited(*pictures, keyframe.backdrop, torch.zeros(3, device=self.avatar.device))
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
            pose, transl = (x.detach().cpu().numpy().copy() for x in (keyframe.pose, keyframe.transl))
            states[keyframe.stamp_ns] = replace(states[keyframe.stamp_ns], pose=pose, transl=transl)
        return states


def _rate_name(parameter: str) -> str:
    """A parameter goes by its own name or that of the field it is in; the fields' tables go by one of their own."""
    field, *inside = parameter.split(".")
    return "grid" if inside[:1] == ["grid"] else field


def _adam(parameters: Mapping[str, Tensor]) -> torch.optim.Adam:
    """One group per parameter, by its name; rates are set at every step."""
    groups = [{"params": [parameter], "name": name} for name, parameter in parameters.items()]
    return torch.optim.Adam(groups, eps=1e-15, fused=True)
