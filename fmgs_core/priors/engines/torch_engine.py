"""A network computed by torch itself: the engine that needs nothing else, and the one that others are compared with."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fmgs_core.priors.engines.engine import TensorSpec, check_pixels, placed


class TorchEngine:
    """`Engine` around a module. Below float32, autocast leaves norms and softmax in float32, where their sums need it.

    Raises:
        ValueError: no such device.
    """

    def __init__(
        self,
        module: nn.Module,
        io: tuple[TensorSpec, TensorSpec],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.input, self.output = io
        self.device = placed(device)
        self.name = f"torch {self.device} {str(dtype).removeprefix('torch.')}"
        self._dtype = dtype
        self._module: nn.Module | None = module.to(self.device, torch.float32).eval()

    @torch.no_grad()  # not inference_mode: a loss could not keep such maps for its backward pass
    def run(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        check_pixels(pixels, self.input, self.device)
        assert self._module is not None, f"{self.name} is closed"
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            maps = self._module(pixels).float()
        assert self.output.admits(maps), (str(self.output), maps.shape)
        return maps

    def close(self) -> None:
        self._module = None
