"""All that one view of an avatar can show, as arrays for other programs."""

from dataclasses import replace
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float, UInt8

from fmgs_core.avatar.completion import confidence
from fmgs_core.avatar.model import Avatar
from fmgs_core.raster import rasterize
from fmgs_core.rendering.pictures import BACKGROUND_LABEL, normal_picture
from fmgs_core.types import BodyState, Camera, Channel, Rendering, Splats

UNLABELLED = 255
Color = tuple[int, int, int]


class Output(Enum):
    """One array each; the avatar is where it covers more than half of a pixel."""

    IMAGE = "image"
    """(h, w, 3) uint8: colour over the background."""
    DEPTH = "depth"
    """(h, w) float32: camera z [m], NaN where the avatar is not."""
    NORMALS = "normals"
    """(h, w, 3) uint8: x, y, z of the camera-frame normal around mid-grey, 0 where the avatar is not."""
    MASK = "mask"
    """(h, w) uint8: class ids, 0 (background) where the avatar is not, 255 where it was never told its classes."""
    CONFIDENCE = "confidence"
    """(h, w) float32 in [0, 1]: how far what is drawn was ever seen; 0 where nothing is."""


_NEEDS = {
    Output.IMAGE: Channel.RGB,
    Output.DEPTH: Channel.DEPTH,
    Output.NORMALS: Channel.NORMAL,
    Output.MASK: Channel.LOGITS,
}


@torch.no_grad()
def draw_outputs(
    avatar: Avatar,
    state: BodyState,
    camera: Camera,
    outputs: frozenset[Output],
    background: Color = (255, 255, 255),
    backend: str = "cpu",
) -> dict[Output, np.ndarray]:
    """The asked outputs of one view, and no work for others.

    Args:
        background: behind the avatar, RGB.
        backend: as for `rasterize`; the avatar is on the device that it needs.
    """
    splats, made = avatar.drawn(state, camera), {}
    if channels := frozenset(_NEEDS[output] for output in outputs if output in _NEEDS):
        made = _maps(_drawn(splats, camera, channels, backend), outputs, background)
    if Output.CONFIDENCE in outputs:
        believed = confidence(avatar.observed)[:, None].expand(-1, 3)
        seen = _drawn(replace(splats, colors=believed), camera, frozenset({Channel.RGB}), backend)
        assert seen.rgb is not None
        made[Output.CONFIDENCE] = np.ascontiguousarray(seen.rgb[..., 0].clamp(0, 1).numpy())
    return made


def _drawn(splats: Splats, camera: Camera, channels: frozenset[Channel], backend: str) -> Rendering:
    """On the CPU, whatever drew it."""
    rendering = rasterize(splats, camera, channels, backend=backend, cull_backfaces=True)
    maps = {name: value.cpu() for name, value in vars(rendering).items() if value is not None}
    return Rendering(**maps)


def _maps(rendering: Rendering, outputs: frozenset[Output], background: Color) -> dict[Output, np.ndarray]:
    makers = {
        Output.IMAGE: lambda: over_color(rendering, background),
        Output.DEPTH: lambda: depth_map(rendering),
        Output.NORMALS: lambda: normal_picture(rendering),
        Output.MASK: lambda: class_map(rendering),
    }
    return {output: makers[output]() for output in outputs & makers.keys()}


def over_color(rendering: Rendering, background: Color) -> UInt8[np.ndarray, "h w 3"]:
    """Colour over one colour, RGB."""
    assert rendering.rgb is not None
    behind = torch.tensor(background, dtype=torch.float32)
    blended = rendering.rgb * 255 + behind * (1 - rendering.alpha[..., None])
    return blended.clamp(0, 255).round().to(torch.uint8).numpy()


def depth_map(rendering: Rendering) -> Float[np.ndarray, "h w"]:
    """Camera z [m]; NaN where the avatar covers half of the pixel or less."""
    assert rendering.depth is not None
    return torch.where(rendering.alpha > 0.5, rendering.depth, torch.nan).numpy()


def class_map(rendering: Rendering) -> UInt8[np.ndarray, "h w"]:
    """As label_map; 255 where all classes score alike, which is what an avatar that never saw labels has. Only covered pixels
    are looked at, a tenth of the time of all."""
    assert rendering.logits is not None
    covered = rendering.alpha > 0.5
    logits = rendering.logits[covered]
    least, most = logits.aminmax(dim=-1)
    labels = torch.full(covered.shape, BACKGROUND_LABEL, dtype=torch.uint8)
    labels[covered] = torch.where(most - least < 1e-6, UNLABELLED, logits.argmax(-1)).to(torch.uint8)
    return labels.numpy()
