"""A camera that changes its exposure: the avatar has one brightness, the mean of the memory's, and each picture its own gain.

The gains come from the room (training/background.py): they need no avatar, cost nothing in a step, and cannot be mistaken for
light on a person who turns.
"""

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.training.keyframes import Keyframe


def exposure_gain(gain: Float[np.ndarray, "3"], device: torch.device) -> Float[Tensor, "3"] | None:
    """A keyframe's gain; None where nothing has to be done."""
    return None if (gain == 1).all() else torch.from_numpy(np.asarray(gain, np.float32)).to(device)


def mean_gain(keyframes: Iterable[Keyframe]) -> Float[Tensor, "3"] | None:
    """Geometric mean: the exposure that the avatar's own colours are of. None where it is 1."""
    gains = [k.gain for k in keyframes]
    known = [g.log() for g in gains if g is not None]
    return torch.stack(known).sum(0).div(len(gains)).exp() if known else None


def exposed(
    rgb: Float[Tensor, "h w 3"], gain: Float[Tensor, "3"] | None, mean: Float[Tensor, "3"] | None
) -> Float[Tensor, "h w 3"]:
    """A rendering of the avatar as the camera of a keyframe would store it, unclipped."""
    if gain is None and mean is None:
        return rgb
    return rgb * ((1 if gain is None else gain) / (1 if mean is None else mean))
