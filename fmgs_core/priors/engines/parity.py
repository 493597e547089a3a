"""How far two computations of one network are apart, in the terms of its task, and whether that is still the same network."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.priors.sapiens.tasks import Task

INPUT_PX_OF_HEAT_MAP = 4
"""Sapiens' heat maps have a quarter of the input's size."""
_SHORTEST_NORMAL = 0.1
"""Of the median length: what is shorter has no direction worth comparing."""
_NARROWEST_MARGIN = 0.05
"""Of the scores' standard deviation: two classes nearer than this are a tie, which may fall either way."""
_CLEAREST_PEAK = 10.0
"""Standard deviations of its heat map that a keypoint's peak must stand out by. A trained one has 50 to 100; of noise, 5."""


@dataclass(frozen=True)
class Tolerance:
    """A figure's bound, and why it is that."""

    limit: float
    unit: str
    why: str
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """False for a value that is not finite."""
        return value >= self.limit if self.at_least else value <= self.limit


_SPREAD = {
    "mean_abs": Tolerance(0.01, "of the range", "bfloat16 rounds to 0.2 %; some 100 roundings in a row add up to less"),
    "p99_abs": Tolerance(0.05, "of the range", "edges, where values change most"),
}
TOLERANCES: dict[Task, dict[str, Tolerance]] = {
    Task.NORMAL: _SPREAD
    | {
        "mean_deg": Tolerance(2.0, "degrees", "the networks themselves are 9 to 14 degrees off"),
        "p99_deg": Tolerance(10.0, "degrees", "outlines and folds"),
    },
    Task.DEPTH: _SPREAD,
    Task.MATTING: _SPREAD,
    Task.SEG: _SPREAD | {"same_labels": Tolerance(0.98, "of the pixels", "borders move by a pixel; ties do not count", True)},
    Task.POSE: _SPREAD
    | {
        "mean_px": Tolerance(1.0, "px", "a quarter of a heat map's pixel"),
        "p99_px": Tolerance(float(INPUT_PX_OF_HEAT_MAP), "px", "one pixel of a heat map; float16 has been seen 70 px off"),
    },
}
"""What a lower precision may cost. Below the error of the networks themselves by a factor of five or more."""

EXACT = Tolerance(1e-4, "of the range", "float32 through one graph: differences are those of the order of summation")
"""Of the largest difference between float32 engines; 4e-6 was measured, and 4e-5 reported."""


@dataclass(frozen=True)
class Parity:
    """Differences of one network's outputs; figures without a meaning here (no clear keypoint) are absent."""

    max_abs: float
    """In the output's own unit, as mean_abs_raw."""
    mean_abs_raw: float
    value_range: float
    """Largest minus smallest value of the expected output."""
    figures: dict[str, float] = field(default_factory=dict)
    """By the names of TOLERANCES."""

    def complaints(self, tolerances: dict[str, Tolerance]) -> list[str]:
        """One clause for each figure outside of its tolerance; none when all is well."""
        beyond = ((name, t, self.figures[name]) for name, t in tolerances.items() if name in self.figures)
        return [
            f"{name} {value:.4g} {t.unit} (expected {'at least' if t.at_least else 'at most'} {t.limit:g}: {t.why})"
            for name, t, value in beyond
            if not t.holds(value)
        ]

    def exact(self) -> bool:
        """Whether two float32 computations agree as they should."""
        return EXACT.holds(self.max_abs / self.value_range if self.value_range else self.max_abs)

    def text(self) -> str:
        figures = ", ".join(f"{name} {value:.3g}" for name, value in self.figures.items())
        return f"max {self.max_abs:.2e}, mean {self.mean_abs_raw:.2e} of a range of {self.value_range:.3g}; {figures}"


def compare(task: Task, expected: Float[Tensor, "b c h w"], got: Float[Tensor, "b c h w"]) -> Parity:
    """Both are raw outputs of the network, on any device.

    Raises:
        ValueError: outputs of different shapes.
    """
    expected, got = expected.float().cpu(), got.float().cpu()
    if expected.shape != got.shape:
        raise ValueError(f"outputs of one network: expected shape {tuple(expected.shape)}, got {tuple(got.shape)}")
    apart, span = (got - expected).abs(), float(expected.max() - expected.min())
    spread = apart / (span or 1.0)
    figures = {"mean_abs": float(spread.mean()), "p99_abs": quantile(spread, 0.99)}
    return Parity(float(apart.max()), float(apart.mean()), span, figures | _OF_TASK[task](expected, got))


def quantile(values: Tensor, share: float) -> float:
    """Of any number of values: torch's own ends at 16 million. NaN counts as the largest."""
    flat = values.flatten()
    return float(flat.kthvalue(max(1, round(share * len(flat)))).values)


def _normal_figures(expected: Float[Tensor, "b 3 h w"], got: Float[Tensor, "b 3 h w"]) -> dict[str, float]:
    lengths = expected.norm(dim=1)
    known = lengths >= _SHORTEST_NORMAL * lengths.median()
    a, b = (torch.nn.functional.normalize(t, dim=1) for t in (expected, got))
    # Of the chord: the arc cosine of a product near 1 loses half its digits.
    degrees = torch.rad2deg(2 * torch.arcsin(((a - b).norm(dim=1) / 2).clamp(max=1)))[known]
    return {"mean_deg": float(degrees.mean()), "p99_deg": quantile(degrees, 0.99)}


def _label_figures(expected: Float[Tensor, "b c h w"], got: Float[Tensor, "b c h w"]) -> dict[str, float]:
    if expected.shape[1] < 2:
        return {}
    best = expected.topk(2, dim=1).values
    clear = best[:, 0] - best[:, 1] >= _NARROWEST_MARGIN * expected.std()
    same = (expected.argmax(1) == got.argmax(1)) & torch.isfinite(got).all(1)
    return {"same_labels": float(same[clear].float().mean())} if clear.any() else {}


def _keypoint_figures(expected: Float[Tensor, "b c h w"], got: Float[Tensor, "b c h w"]) -> dict[str, float]:
    flat = expected.flatten(2)
    clear = flat.amax(2) - flat.mean(2) >= _CLEAREST_PEAK * flat.std(2)
    if not clear.any():
        return {}
    away = [(_cells(t) * INPUT_PX_OF_HEAT_MAP)[clear] for t in (expected, got)]
    px = (away[0] - away[1]).norm(dim=-1)
    return {"mean_px": float(px.mean()), "p99_px": quantile(px, 0.99)}


def _cells(heat: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2"]:
    """Row and column of each map's peak."""
    index = heat.flatten(2).argmax(2)
    return torch.stack([index // heat.shape[3], index % heat.shape[3]], -1).float()


_OF_TASK: dict[Task, Callable[[Tensor, Tensor], dict[str, float]]] = {
    Task.NORMAL: _normal_figures,
    Task.DEPTH: lambda expected, got: {},
    Task.MATTING: lambda expected, got: {},
    Task.SEG: _label_figures,
    Task.POSE: _keypoint_figures,
}
