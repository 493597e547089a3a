"""Renderings as 8-bit pictures for people: colour, depth, normals, labels, and the classes behind them."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8

from fmgs_core.avatar.completion import confidence
from fmgs_core.avatar.model import Avatar
from fmgs_core.body.parts import SAPIENS28_COLORS
from fmgs_core.raster import rasterize
from fmgs_core.types import BodyState, Camera, Channel, Rendering

BACKGROUND_LABEL = 0
Picture = UInt8[np.ndarray, "h w 3"]


@torch.no_grad()
def draw(avatar: Avatar, state: BodyState, camera: Camera, channels: frozenset[Channel], backend: str = "cpu") -> Rendering:
    """The avatar in a body state, as one camera sees it."""
    culled = not avatar.fields.two_sided
    return rasterize(avatar.drawn(state, camera), camera, channels, backend=backend, cull_backfaces=culled)


@torch.no_grad()
def confidence_map(avatar: Avatar, state: BodyState, camera: Camera) -> Float[np.ndarray, "h w"]:
    """How far what is drawn was observed, in [0, 1]; 0 where nothing is. What was filled in counts as unseen."""
    believed = confidence(avatar.observed)[:, None].expand(-1, 3)
    culled = not avatar.fields.two_sided
    rendering = rasterize(replace(avatar.drawn(state), colors=believed), camera, cull_backfaces=culled)
    assert rendering.rgb is not None
    return rendering.rgb[..., 0].clamp(0, 1).numpy()


def color_picture(rendering: Rendering, background: float = 1.0) -> Picture:
    """Colour over a grey background in [0, 1]."""
    assert rendering.rgb is not None
    return _bytes((rendering.rgb + background * (1 - rendering.alpha[..., None])).numpy())


def composite(rendering: Rendering, behind: Picture) -> Picture:
    """Colour over a picture."""
    assert rendering.rgb is not None
    alpha = rendering.alpha.numpy()[..., None]
    return _bytes(rendering.rgb.numpy() + (1 - alpha) * (behind.astype(np.float32) / 255))


def label_map(rendering: Rendering) -> UInt8[np.ndarray, "h w"]:
    """Most likely class after blending; background where the avatar covers less than half of the pixel."""
    assert rendering.logits is not None
    labels = rendering.logits.argmax(-1).to(torch.uint8).numpy()
    return np.where(rendering.alpha.numpy() > 0.5, labels, BACKGROUND_LABEL).astype(np.uint8)


def label_picture(labels: UInt8[np.ndarray, "h w"]) -> Picture:
    """Classes in the label set's own colours."""
    return SAPIENS28_COLORS[np.minimum(labels, len(SAPIENS28_COLORS) - 1)]


def normal_picture(rendering: Rendering) -> Picture:
    """x, y, z of the camera-frame normal as red, green, blue around mid-grey (the encoding of data.md)."""
    assert rendering.normal is not None
    shown = rendering.alpha.numpy() > 0.5
    return np.where(shown[..., None], _bytes(rendering.normal.numpy() * 0.5 + 0.5), 0).astype(np.uint8)


def depth_picture(rendering: Rendering, near_m: float, far_m: float) -> Picture:
    """Camera z between near (white) and far (black) in grey; black where nothing is."""
    assert rendering.depth is not None
    grey = np.nan_to_num(1 - (rendering.depth.numpy() - near_m) / (far_m - near_m), nan=0.0)
    return _bytes(np.repeat(grey[..., None], 3, -1))


def _bytes(values: Float[np.ndarray, "h w 3"]) -> Picture:
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
