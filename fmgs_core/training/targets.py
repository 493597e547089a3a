"""What the losses compare a rendering of one keyframe with, as tensors on the trainer's device."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped, UInt8
from torch import Tensor

MASK_TRUST_AT_EDGE = 0.2
STRANGE = 0.12  # difference to the room in any channel, in [0, 1], that no noise and no soft shadow makes
STRANGE_REACH = 0.02  # of the crop's longer side: what is thinner is an outline
EDGE_REACH = 0.01  # of the crop's longer side, to either side of the mask's edge


@dataclass(frozen=True)
class KnownPixels:
    """A prior's map where the person is seen and the prior knows: a fixed list, so that no loss has to ask a GPU how many
    pixels it is about."""

    pixels: Int[Tensor, " n"]
    """Row-major indices into the crop, ascending, at least one."""
    values: Num[Tensor, "n *c"]
    trust: float = 1.0
    """In [0, 1]: how far the values are believed."""


def known_pixels(
    values: Shaped[np.ndarray, "h w *c"] | None,
    known: Bool[np.ndarray, "h w"],
    device: str | torch.device,
    trust: float = 1.0,
) -> KnownPixels | None:
    """The values at the known pixels; None when there is no map or nothing known."""
    if values is None or not known.any():
        return None
    pixels = np.flatnonzero(known).astype(np.int32)
    chosen = values.reshape(-1, *values.shape[2:])[pixels]
    return KnownPixels(torch.from_numpy(pixels).to(device), torch.from_numpy(chosen).to(device), trust)


@dataclass(frozen=True)
class Backdrop:
    """What is known of the room behind one keyframe."""

    version: int
    """Of the background plate it was cut from."""
    colors: UInt8[Tensor, "h w 3"]
    known: Bool[Tensor, "h w"]
    mask_trust: Float[Tensor, "h w"]
    """Weight of the mask loss: low along the mask's edge where the picture itself decides. Where it is 0 nothing is compared,
    colours neither: something stands before the person."""


def make_backdrop(
    version: int,
    colors: UInt8[np.ndarray, "h w 3"],
    known: Bool[np.ndarray, "h w"],
    mask: Float[Tensor, "h w"],
    picture: UInt8[Tensor, "h w 3"],
    gain: Float[Tensor, "3"] | None = None,
    settled: bool | None = None,
) -> Backdrop:
    """A backdrop on the mask's device.

    Args:
        gain: of the keyframe's exposure against the background's, if it differs.
        settled: whether what is not known is nearly always behind the person; None compares strangers as well.
    """
    if gain is not None:
        colors = np.rint(colors * gain.cpu().numpy()).clip(0, 255).astype(np.uint8)
    person = mask.cpu().numpy()
    kernel = _square(EDGE_REACH, person)
    edge = (cv2.dilate(person, kernel) > 0.1) & (cv2.erode(person, kernel) < 0.9) & known
    trust = np.where(edge, MASK_TRUST_AT_EDGE, 1.0).astype(np.float32)
    if settled is not None:
        trust[strangers(picture.cpu().numpy(), person, colors, known, settled)] = 0
    return Backdrop(version, *(torch.from_numpy(x).to(mask.device) for x in (colors, known, trust)))


def strangers(
    picture: UInt8[np.ndarray, "h w 3"],
    person: Float[np.ndarray, "h w"],
    room: UInt8[np.ndarray, "h w 3"],
    known: Bool[np.ndarray, "h w"],
    settled: bool,
) -> Bool[np.ndarray, "h w"]:
    """Where the picture shows neither the person nor the room: whatever stands before them, or a limb that the mask misses.
    Where the person has always been, what is not the person cannot be the room."""
    differs = (cv2.absdiff(picture, room) > STRANGE * 255).any(-1)
    strange = (person < 0.5) & np.where(known, differs, settled)
    return cv2.morphologyEx(strange.astype(np.uint8), cv2.MORPH_OPEN, _square(STRANGE_REACH, person)) > 0


def _square(reach: float, picture: np.ndarray) -> UInt8[np.ndarray, "k k"]:
    side = 2 * max(1, round(reach * max(picture.shape))) + 1
    return np.ones((side, side), np.uint8)
