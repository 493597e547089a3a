"""Adam's memory of Gaussians whose faces were divided."""

import torch
from jaxtyping import Int
from torch import Tensor

from fmgs_core.avatar.fields import PER_FACE

_POWER = {"exp_avg": 1, "exp_avg_sq": 2}


def inherit_moments(heir: torch.optim.Adam, late: torch.optim.Adam, parents: Int[Tensor, " K"]) -> None:
    """Fills a fresh optimiser with what another knew of the same parameters on fewer faces.

    Each of n parts of a face gets an n-th of its gradient. With the whole's moments the parts would crawl until those fade,
    which takes a thousand steps; with none they would leap.
    """
    parts = torch.bincount(parents)[parents]
    for new, old in zip(heir.param_groups, late.param_groups, strict=True):
        known, (parameter,) = late.state[old["params"][0]], new["params"]
        if known:
            split = new["name"] in PER_FACE
            heir.state[parameter] = {name: _of(value, name, parents, parts, split) for name, value in known.items()}


def _of(value: Tensor, name: str, parents: Tensor, parts: Tensor, split: bool) -> Tensor:
    if not split or name not in _POWER:
        return value.clone()
    taken = value[parents]
    return taken / parts.reshape(-1, *[1] * (taken.ndim - 1)) ** _POWER[name]
