"""Body states between two others."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation, Slerp

from fmgs_core.types import BodyState


def interpolated(a: BodyState, b: BodyState, share: float) -> BodyState:
    """The state at `share` in [0, 1] of the way from a to b: joints turn along the shortest arc, the rest goes straight."""
    if not 0 <= share <= 1:
        raise ValueError(f"interpolated: expected a share in [0, 1], got {share}")
    pose = np.stack([_turned(p, q, share) for p, q in zip(a.pose, b.pose, strict=True)])
    straight = {n: (1 - share) * getattr(a, n) + share * getattr(b, n) for n in ("betas", "transl", "expression")}
    return BodyState(pose=pose, **straight)


def _turned(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"], share: float) -> Float[np.ndarray, "3"]:
    return Slerp([0.0, 1.0], Rotation.from_rotvec(np.stack([a, b])))(share).as_rotvec()


def state_at(states: dict[int, BodyState], stamp_ns: int) -> BodyState:
    """The state at a time: between its neighbours, or the nearest one before the first and after the last.

    Args:
        states: by stamp [ns]; at least one.
    """
    stamps = np.array(sorted(states))
    after = int(np.searchsorted(stamps, stamp_ns))
    if after == 0 or after == len(stamps):
        return states[int(stamps[min(after, len(stamps) - 1)])]
    before_ns, after_ns = int(stamps[after - 1]), int(stamps[after])
    share = (stamp_ns - before_ns) / (after_ns - before_ns)
    return interpolated(states[before_ns], states[after_ns], share)
