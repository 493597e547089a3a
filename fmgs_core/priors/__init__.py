"""What is known of a frame before the avatar is fitted: masks, landmarks, geometry, labels."""

from typing import Protocol, runtime_checkable

from fmgs_core.types import Frame, PriorMaps


@runtime_checkable
class Prior(Protocol):
    """Looks at one frame at a time, in the order of the stream; may keep state between calls."""

    def predict(self, frame: Frame) -> PriorMaps:
        """Maps of the frame's size; those the prior cannot give are None."""
        ...

    def close(self) -> None:
        """Gives back models and threads; predict must not be called afterwards."""
        ...
