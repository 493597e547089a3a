"""Work of another library on a GPU, in order with torch's and without the host waiting."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class SideStream:
    """A stream of the device's own; on the CPU nothing at all.

    Not torch's current stream itself: that is usually the default one, on which TensorRT waits for the host.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @property
    def handle(self) -> int:
        """For the other library: a cudaStream_t."""
        return 0 if self._stream is None else self._stream.cuda_stream

    @contextmanager
    def between(self, *inputs: Tensor) -> Iterator[None]:
        """Inside, torch's stream is this one: after what made the inputs, and before whatever follows the block."""
        if self._stream is None:
            yield
            return
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)
        for tensor in inputs:
            tensor.record_stream(self._stream)

    def handed_over(self, output: Tensor) -> Tensor:
        """The output, whose memory torch may not use again before the current stream is done with it."""
        if self._stream is not None:
            output.record_stream(torch.cuda.current_stream(self._device))
        return output
