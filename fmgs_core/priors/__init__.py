"""What is known of a frame before the avatar is fitted: masks, landmarks, geometry, labels."""

from typing import Protocol, runtime_checkable

from fmgs_core.types import Frame, PriorMaps

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
