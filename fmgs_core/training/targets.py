"""What the losses compare a rendering of one keyframe with, as tensors on the trainer's device."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped, UInt8
from torch import Tensor

MASK_TRUST_AT_EDGE = 0.2
EDGE_REACH = 0.01  # of the crop's longer side, to either side of the mask's edge


@dataclass(frozen=True)
class KnownPixels:
    """A prior's map where the person is seen and the prior knows: a fixed list, so that no loss has to ask a GPU how many
    pixels it is about."""

    pixels: Int[Tensor, " n"]
    """Row-major indices into the crop, ascending, at least one."""
    values: Num[Tensor, "n *c"]


def known_pixels(
    values: Shaped[np.ndarray, "h w *c"] | None, known: Bool[np.ndarray, "h w"], device: str | torch.device
) -> KnownPixels | None:
    """The values at the known pixels; None when there is no map or nothing known."""
    if values is None or not known.any():
        return None
    pixels = np.flatnonzero(known).astype(np.int32)
    chosen = values.reshape(-1, *values.shape[2:])[pixels]
    return KnownPixels(torch.from_numpy(pixels).to(device), torch.from_numpy(chosen).to(device))


@dataclass(frozen=True)
class Backdrop:
    """What is known of the room behind one keyframe."""

    version: int
    """Of the background plate it was cut from."""
    colors: UInt8[Tensor, "h w 3"]
    known: Bool[Tensor, "h w"]
    mask_trust: Float[Tensor, "h w"]
    """Weight of the mask loss: low along the mask's edge where the picture itself decides."""


def make_backdrop(
    version: int,
    colors: UInt8[np.ndarray, "h w 3"],
    known: Bool[np.ndarray, "h w"],
    mask: Float[Tensor, "h w"],
    gain: Float[Tensor, "3"] | None = None,
) -> Backdrop:
    """A backdrop on the mask's device.

    Args:
        gain: of the keyframe's exposure against the background's, if it differs.
    """
    if gain is not None:
        colors = np.rint(colors * gain.cpu().numpy()).clip(0, 255).astype(np.uint8)
    person = mask.cpu().numpy()
    reach = 2 * max(1, round(EDGE_REACH * max(person.shape))) + 1
    kernel = np.ones((reach, reach), np.uint8)
    edge = (cv2.dilate(person, kernel) > 0.1) & (cv2.erode(person, kernel) < 0.9) & known
    trust = np.where(edge, MASK_TRUST_AT_EDGE, 1.0).astype(np.float32)
    return Backdrop(version, *(torch.from_numpy(x).to(mask.device) for x in (colors, known, trust)))
