"""Maps that come after their frame. Kinds: parity with maps that came with it, behaviour, refusal."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.priors import DeviceMaps
from fmgs_core.training.cuts import KINDS
from fmgs_core.training.keyframes import Keyframe, MemoryConfig
from fmgs_core.training.targets import KnownPixels
from fmgs_core.training.trainer import Trainer, TrainerConfig
from fmgs_core.types import PriorMaps

from .scene import camera, observation, turn

# Small crops, so that the maps are shrunk; every third frame is held out.
CONFIG = TrainerConfig(memory=MemoryConfig(held_out=2, held_out_every=3, crop_max_px=50))
STATES = turn(6)
SEEN = [observation(i, state, camera()) for i, state in enumerate(STATES)]
BARE = [(frame, PriorMaps(mask=maps.mask)) for frame, maps in SEEN]


def trainer_with(seen: list) -> Trainer:
    trainer = Trainer(Avatar(default_body()), CONFIG)
    for (frame, maps), state in zip(seen, STATES, strict=False):
        trainer.add(frame, maps, state)
    return trainer


def keyframes(trainer: Trainer) -> dict[int, Keyframe]:
    return {k.stamp_ns: k for k in (*trainer.memory, *trainer.held_out)}


def assert_same(a: KnownPixels | None, b: KnownPixels | None) -> None:
    assert a is not None and b is not None
    assert torch.equal(a.pixels, b.pixels) and a.values.dtype == b.values.dtype and torch.equal(a.values, b.values)


def test_late_maps_are_kept_as_those_that_came_with_the_frame():
    """Exactly, on held-out keyframes too; the order of arrival does not matter."""
    late, on_time = trainer_with(BARE), trainer_with(SEEN)
    for frame, maps in reversed(SEEN):
        assert late.attach(frame.stamp_ns, replace(maps, geometry_trust=0.5))
    assert len(late.held_out) == 2
    for stamp, keyframe in keyframes(on_time).items():
        other = keyframes(late)[stamp]
        for name in KINDS:
            assert getattr(other.maps, name).trust == 0.5
            assert_same(getattr(other.maps, name), getattr(keyframe.maps, name))
        assert torch.equal(other.mask, keyframe.mask)


def on_device(maps: PriorMaps) -> DeviceMaps:
    normal, depth, labels = (None if x is None else torch.from_numpy(x) for x in (maps.normal, maps.depth, maps.labels))
    return DeviceMaps(normal, depth, labels, maps.label_set, maps.geometry_trust)


@pytest.mark.parametrize("crop_max_px", [1000, 61, 50, 33, 32])
def test_maps_on_a_device_are_kept_to_the_bit_as_those_of_the_host(crop_max_px: int):
    config = replace(CONFIG, memory=replace(CONFIG.memory, crop_max_px=crop_max_px))
    trainers = [Trainer(Avatar(default_body()), config) for _ in range(2)]
    for (frame, maps), state in zip(SEEN, STATES, strict=True):
        for trainer in trainers:
            trainer.add(frame, PriorMaps(mask=maps.mask), state)
        assert trainers[0].attach(frame.stamp_ns, maps) and trainers[1].attach(frame.stamp_ns, on_device(maps))
    for stamp, keyframe in keyframes(trainers[0]).items():
        for kind in KINDS:
            assert_same(getattr(keyframes(trainers[1])[stamp].maps, kind), getattr(keyframe.maps, kind))


def test_maps_on_a_device_that_know_nothing_or_cannot_be_used():
    trainer, (frame, maps) = trainer_with(BARE), SEEN[0]
    unknown = DeviceMaps(depth=torch.full((96, 96), float("nan")), normal=torch.zeros(96, 96, 3))
    assert trainer.attach(frame.stamp_ns, unknown) and not keyframes(trainer)[frame.stamp_ns].maps
    with pytest.raises(ValueError, match=r"PriorMaps\.label_set: expected one of sapiens28, got 'atr18'"):
        trainer.attach(frame.stamp_ns, replace(on_device(maps), label_set="atr18"))


def test_training_goes_on_as_if_the_maps_had_been_there():
    late, on_time = trainer_with(BARE), trainer_with(SEEN)
    for frame, maps in SEEN:
        late.attach(frame.stamp_ns, maps)
    for _ in range(8):
        assert late.step().losses == on_time.step().losses
    assert all(torch.equal(a, b) for a, b in zip(late.avatar.parameters(), on_time.avatar.parameters(), strict=True))


def test_the_losses_of_late_maps_are_on_from_then():
    trainer = trainer_with(BARE)
    assert "normal" not in trainer.step().losses
    frame, maps = SEEN[0]
    trainer.attach(frame.stamp_ns, maps)
    names = {name for _ in range(CONFIG.auxiliary_every) for name in trainer.step().losses}
    assert {"normal", "depth_order", "label"} <= names


def kinds(keyframe: Keyframe) -> set[str]:
    return {kind for kind in KINDS if getattr(keyframe.maps, kind) is not None}


def test_maps_that_are_trusted_less_are_forgotten_kind_by_kind():
    """The template's normals everywhere once a model has given some of its own, its labels nowhere; later frames too."""
    weak = [(frame, replace(maps, geometry_trust=0.1)) for frame, maps in SEEN]
    trainer = trainer_with(weak[:4])
    frame, maps = SEEN[0]
    trainer.attach(frame.stamp_ns, PriorMaps(mask=np.zeros_like(maps.mask), normal=maps.normal))
    trainer.add(*weak[4], STATES[4])
    known = {stamp: kinds(keyframe) for stamp, keyframe in keyframes(trainer).items()}
    assert known.pop(frame.stamp_ns) == {"normal", "depth", "labels"}
    assert len(known) == 4 and all(k == {"depth", "labels"} for k in known.values())
    first = keyframes(trainer)[frame.stamp_ns]
    assert first.maps.normal is not None and first.maps.labels is not None
    assert (first.maps.normal.trust, first.maps.labels.trust) == (1.0, 0.1) and first.mask.max() > 0.5


def test_maps_that_are_trusted_alike_stay():
    trainer = trainer_with(SEEN)
    trainer.attach(SEEN[0][0].stamp_ns, SEEN[0][1])
    assert all(kinds(keyframe) == set(KINDS) for keyframe in keyframes(trainer).values())


def test_trust_weighs_the_losses_of_its_kind():
    """Exactly: half the trust is half the loss, before anything was learned."""
    losses = []
    for trust in (1.0, 0.5):
        trainer = trainer_with(BARE)
        for frame, maps in SEEN:
            trainer.attach(frame.stamp_ns, replace(maps, geometry_trust=trust))
        losses.append(trainer.step().losses)
    for kind in ("normal", "depth_order", "label"):
        assert float(losses[0][kind]) == pytest.approx(2 * float(losses[1][kind]), rel=1e-6) and losses[0][kind] > 0
    assert losses[0]["color"] == losses[1]["color"]


def test_maps_of_a_frame_that_is_gone_go_nowhere():
    trainer = trainer_with(BARE)
    assert not trainer.attach(10**15, SEEN[0][1])
    assert not any(k.maps for k in keyframes(trainer).values())


def test_maps_that_cannot_be_used_are_refused_by_name():
    trainer = trainer_with(BARE)
    frame, maps = SEEN[0]
    assert maps.normal is not None
    with pytest.raises(ValueError, match=r"PriorMaps\.normal: expected the frame's size, 96 x 96, got 90 x 96"):
        trainer.attach(frame.stamp_ns, replace(maps, normal=maps.normal[:, :90]))
    with pytest.raises(ValueError, match=r"PriorMaps\.label_set: expected one of sapiens28, got 'atr18'"):
        trainer.attach(frame.stamp_ns, replace(maps, label_set="atr18"))
    assert not keyframes(trainer)[frame.stamp_ns].maps
