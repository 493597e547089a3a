"""Networks small enough to be run in a test, with the inputs and outputs of the real ones."""

import torch

from fmgs_core.priors.engines.engine import TensorSpec, network_io
from fmgs_core.priors.sapiens.architecture import TINY, spec_for
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task

INPUT_HW = (64, 48)


def tiny(task: Task, seed: int = 0) -> tuple[SapiensNetwork, tuple[TensorSpec, TensorSpec]]:
    """A network of 0.1 million random weights, and its input and output."""
    torch.manual_seed(seed)
    channels = 20 if task is Task.POSE else None
    spec = spec_for(TINY, task, channels, INPUT_HW)
    return SapiensNetwork(spec).eval().requires_grad_(False), network_io(spec.input_hw, spec.channels, spec.output_hw)
