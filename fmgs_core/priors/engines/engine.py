"""The border between a network's pictures and whatever computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of an engine's input or output."""

    name: str
    shape: tuple[int | None, ...]
    """None where any length goes, as in the batch."""
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        sides = " ".join("*" if side is None else str(side) for side in self.shape)
        return f"{self.name}: {str(self.dtype).removeprefix('torch.')} ({sides})"

    def of_batch(self, batch: int) -> tuple[int, ...]:
        """The shape with the free first length filled in."""
        return (batch, *(side for side in self.shape[1:] if side is not None))

    def admits(self, tensor: Tensor) -> bool:
        """Whether the tensor's type and shape are these."""
        same = len(tensor.shape) == len(self.shape)
        return same and tensor.dtype == self.dtype and self.admits_shape(tuple(tensor.shape))

    def admits_shape(self, shape: tuple[int | None, ...]) -> bool:
        """Whether a tensor of that shape would do; where `shape` is None, so must this one be."""
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(mine is None or mine == side for mine, side in pairs)


OnProgress = Callable[[str, float], None]
"""Told what is being done, and which share of it is behind, in [0, 1]."""


def silent(what: str, share: float) -> None:
    """An OnProgress for nobody."""


INPUT_NAME, OUTPUT_NAME = "pixels", "maps"
"""Of the one input and the one output of every file that is written here."""


def network_io(input_hw: tuple[int, int], channels: int, output_hw: tuple[int, int]) -> tuple[TensorSpec, TensorSpec]:
    """Input and output of a network: RGB pictures to maps, any number at once."""
    return TensorSpec(INPUT_NAME, (None, 3, *input_hw)), TensorSpec(OUTPUT_NAME, (None, channels, *output_hw))


@runtime_checkable
class Engine(Protocol):
    """Something that computes one network. Not for two threads at once."""

    name: str
    """For people: "onnxruntime CPUExecutionProvider float32"."""
    device: torch.device
    """Inputs are taken and outputs are left there."""
    input: TensorSpec
    output: TensorSpec

    def run(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Raw output of the network, float32, in memory of its own.

        Raises:
            ValueError: pixels of another shape, type or device.
        """
        ...

    def close(self) -> None:
        """Gives its memory back; run must not be called afterwards."""
        ...


def check_pixels(pixels: Tensor, spec: TensorSpec, device: torch.device) -> None:
    """
    Raises:
        ValueError: pixels that the input does not admit, an empty batch, or pixels elsewhere.
    """
    if not spec.admits(pixels) or not len(pixels):
        got = TensorSpec(spec.name, tuple(pixels.shape), pixels.dtype)
        raise ValueError(f"engine input: expected {spec}, got {got}")
    if pixels.device != device:
        raise ValueError(f"engine input {spec.name}: expected a tensor on {device}, got one on {pixels.device}")


def placed(device: str | torch.device) -> torch.device:
    """The device with its number, so that two of them can be compared.

    Raises:
        ValueError: neither cpu nor a GPU that torch sees.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: expected cpu, cuda or cuda:N, got {device!r}") from error
    if found.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type != "cuda" or (found.index or 0) >= count:
        raise ValueError(f"device: expected cpu or one of the {count} GPUs that torch sees, got {str(device)!r}")
    return torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)
