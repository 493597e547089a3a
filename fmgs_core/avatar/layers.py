"""Small fully connected networks over many points, laid out with the points along rows: what a loop over points reads is then
contiguous, and a hash grid's levels come out as rows anyway."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor


class Layers(torch.nn.Module):
    """W_n relu(... relu(W_1 x + W_c condition + b_1)) + b_n.

    Args:
        widths: of input, hidden layers and output.
        condition: width of what is the same for all points, and therefore costs nothing per point; 0 for none.
        zeros: so many first outputs start at exactly zero.
        generator: of the initial weights, uniform within 1 / sqrt(inputs).
    """

    def __init__(self, widths: tuple[int, ...], condition: int, zeros: int, generator: torch.Generator):
        super().__init__()

        def uniform(rows: int, columns: int) -> torch.nn.Parameter:
            return torch.nn.Parameter((2 * torch.rand(rows, columns, generator=generator) - 1) * max(columns, 1) ** -0.5)

        pairs = list(pairwise(widths))
        self.weights = torch.nn.ParameterList([uniform(out, in_) for in_, out in pairs])
        self.biases = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(out)) for out in widths[1:]])
        self.condition = uniform(widths[1], condition) if condition else None
        with torch.no_grad():
            self.weights[-1][:zeros] = 0

    def forward(self, x: Float[Tensor, "in K"], condition: Float[Tensor, " c"] | None = None) -> Float[Tensor, "out K"]:
        first = self.biases[0]
        if self.condition is not None:
            assert condition is not None, "a condition, as this network was made for one"
            first = first + self.condition @ condition
        x = torch.addmm(first[:, None], self.weights[0], x)
        for weight, bias in zip(list(self.weights)[1:], list(self.biases)[1:], strict=True):
            x = torch.addmm(bias[:, None], weight, x.relu_())
        return x
