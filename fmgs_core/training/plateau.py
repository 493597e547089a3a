"""Whether the residual still falls."""

from jaxtyping import Float
from torch import Tensor


class Plateau:
    """Compares the mean of a residual over `window` steps with the best such mean before.

    Args:
        window: many enough that every keyframe has its say; a GPU is waited for once per window.
        least_fall: a window that is better by less than this share of the best counts as no better.
    """

    def __init__(self, window: int, least_fall: float):
        self._window, self._least_fall = window, least_fall
        self._sum: Tensor | None = None
        self._count, self._best = 0, float("inf")
        self.reached = False
        """Whether the last whole window was no better."""

    def saw(self, residual: Float[Tensor, ""]) -> None:
        self._sum = residual.detach() if self._sum is None else self._sum + residual.detach()
        self._count += 1
        if self._count == self._window:
            self._judge(float(self._sum) / self._count)

    def forget(self) -> None:
        """What was learned from is no longer the same: a residual that rises because of it has not stopped falling."""
        self._sum, self._count, self._best, self.reached = None, 0, float("inf"), False

    def _judge(self, mean: float) -> None:
        """A window with a NaN says nothing."""
        if mean == mean:
            self.reached = mean > (1 - self._least_fall) * self._best
            self._best = min(self._best, mean)
        self._sum, self._count = None, 0
