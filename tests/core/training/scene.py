"""A person with random face colours before a plain wall, drawn by the rasterizer itself at about 96 px."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.parts import sapiens_labels
from fmgs_core.geometry import look_at
from fmgs_core.raster import rasterize
from fmgs_core.training.routing import Attribute
from fmgs_core.types import BodyState, Camera, Channel, Frame, PriorMaps, Rendering

SIZE, FOCAL = 96, 130.0
EVERYTHING = frozenset(Channel)
STEP_NS = 66_666_667
FIELD_BEHIND = {
    Attribute.POSITION: "normal_offset",
    Attribute.ROTATION: "rotation",
    Attribute.SCALE: "log_scale",
    Attribute.OPACITY: "opacity_logit",
    Attribute.COLOR: "color_logit",
    Attribute.SEMANTIC: "logits",
}


def camera(yaw: float = 0.0) -> Camera:
    K = np.array([[FOCAL, 0, SIZE / 2], [0, FOCAL, SIZE / 2], [0, 0, 1]])
    eye = 2.8 * np.array([np.sin(yaw), 0.0, np.cos(yaw)])
    return Camera(K, SIZE, SIZE, look_at(eye, np.array([0.0, -0.1, 0.0])))


def state(yaw: float = 0.0, arms: float = 0.0) -> BodyState:
    """Turned by yaw with hanging arms [rad], pelvis near the origin."""
    neutral = default_body().neutral_state()
    pose = neutral.pose.copy()
    pose[0], pose[16], pose[17] = (0, yaw, 0), (0, -arms, -1.1), (0, arms, 1.1)
    return replace(neutral, pose=pose)


@cache
def person(seed: int = 0) -> Avatar:
    """What the trainer has to find: colours in patches by body part, labels, slight offsets."""
    body = default_body()
    avatar, generator = Avatar(body), torch.Generator().manual_seed(seed)
    kept = torch.from_numpy(body.kept_faces)
    part = torch.from_numpy(body.face_part.astype(np.int64))[kept]
    labels = torch.from_numpy(sapiens_labels(body).astype(np.int64))[kept]
    with torch.no_grad():
        avatar.field.color_logit.copy_(2.0 * torch.randn(32, 3, generator=generator)[part])
        avatar.field.color_logit.add_(0.3 * torch.randn(len(kept), 3, generator=generator))
        avatar.field.logits.copy_(8.0 * torch.nn.functional.one_hot(labels, 28))
        avatar.field.opacity_logit.fill_(4.0)
    return avatar


@torch.no_grad()
def seen(of: BodyState, by: Camera) -> Rendering:
    return rasterize(person().drawn(of), by, EVERYTHING, cull_backfaces=True)


def observation(index: int, of: BodyState, by: Camera, wall: float = 0.3, geometry: bool = True) -> tuple[Frame, PriorMaps]:
    """A picture over an even wall and the exact maps of it."""
    rendering = seen(of, by)
    assert rendering.rgb is not None and rendering.logits is not None
    assert rendering.depth is not None and rendering.normal is not None
    picture = rendering.rgb + wall * (1 - rendering.alpha[..., None])
    rgb = (picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    maps = PriorMaps(mask=rendering.alpha.numpy().clip(0, 1))
    if geometry:
        labels = rendering.logits.argmax(-1).to(torch.uint8).numpy()
        maps = replace(
            maps,
            depth=rendering.depth.numpy(),
            normal=rendering.normal.numpy(),
            labels=np.where(rendering.alpha.numpy() > 0.5, labels, 255).astype(np.uint8),
            label_set="sapiens28",
        )
    return Frame(index * STEP_NS, rgb, by), maps


def turn(count: int, start: float = 0.0) -> list[BodyState]:
    """One turn on the spot."""
    return [state(start + 2 * np.pi * i / count) for i in range(count)]
