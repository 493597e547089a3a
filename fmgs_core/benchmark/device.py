"""Calls whose work is done when they return, on whatever device it is."""

from collections.abc import Callable

import torch

from fmgs_core.benchmark.settings import Device


def finished(call: Callable[[], object], device: Device) -> Callable[[], object]:
    """A GPU only takes note of what to do; the clock must wait for it."""
    if device == "cpu":
        return call

    def waiting() -> None:
        call()
        torch.cuda.synchronize()

    return waiting
