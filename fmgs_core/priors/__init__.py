"""What is known of a frame before the avatar is fitted: masks, landmarks, geometry, labels."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fmgs_core.types import Frame, Keypoints, PriorMaps

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 [px], the far edges exclusive, inside the picture."""


@runtime_checkable
class Prior(Protocol):
    """Looks at one frame at a time, in the order of the stream; may keep state between calls."""

    def predict(self, frame: Frame) -> PriorMaps:
        """Maps of the frame's size; those the prior cannot give are None."""
        ...

    def close(self) -> None:
        """Gives back models and threads; predict must not be called afterwards."""
        ...


@runtime_checkable
class MapModel(Protocol):
    """Maps of one person by a model too slow to look at every frame. Frames may come in any order."""

    name: str
    """For people: "sapiens-0.3b normal+depth+seg, onnxruntime CPU"."""

    def maps(self, frame: Frame, person: Box) -> PriorMaps:
        """Maps of the frame's size, unknown outside of what was looked at (mask 0, normals 0, depth NaN, labels 255); those
        the model cannot give are None. Called from one thread, which need not be the one that made the model."""
        ...

    def close(self) -> None:
        """Gives back models and memory; maps must not be called afterwards."""
        ...


@dataclass(frozen=True)
class DeviceMaps:
    """Normals, depth and labels as PriorMaps has them, where the model left them."""

    normal: Float[Tensor, "h w 3"] | None = None
    depth: Float[Tensor, "h w"] | None = None
    labels: UInt8[Tensor, "h w"] | None = None
    label_set: str | None = None
    geometry_trust: float = 1.0
    keypoints: Keypoints | None = None
    """Few, and for the tracker: on the host."""


@runtime_checkable
class DeviceMapModel(Protocol):
    """A MapModel that can leave its maps on the device: they go to the losses without a way through the host."""

    device: torch.device

    def device_maps(self, frame: Frame, person: Box) -> DeviceMaps:
        """What `maps` gives, on `device`."""
        ...
