"""Whether whoever appears after a loss is the person that was learned: by the colours of their body parts."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from fmgs_core.types import Frame, PriorMaps

NUM_LABELS = 256
STRIDE = 2  # every second pixel in both directions is plenty for a mean
MIN_PIXELS = 20


class Likeness:
    """Running mean colour of each labelled part of one person. Means forgive a pose that is a little off, and a print on
    one side of the shirt only; they do not forgive other clothes. Once lost, a person has to look the same to be known
    again. Costs under a millisecond a frame.

    Args:
        max_difference: up to this (see `difference`) two sightings are of the same person. A turning person differs from
            their own front by up to 0.06 (two recordings), a person dyed in another colour by 0.18; 1 knows everybody.
    """

    def __init__(self, max_difference: float, on_warning: Callable[[str], None]):
        self._max_difference, self._on_warning = max_difference, on_warning
        self._sums, self._counts = np.zeros((NUM_LABELS, 3)), np.zeros(NUM_LABELS)
        self._was_lost = self._has_warned = False

    def lost(self) -> None:
        """Nobody is there: the next one to come may be somebody else."""
        self._was_lost, self._has_warned = True, False

    def knows(self, frame: Frame, maps: PriorMaps) -> bool:
        """Whether a sighting shows the person; if so, it is remembered. Without labels everybody is known."""
        difference = self.difference(frame, maps) if self._was_lost else None
        if difference is not None and difference > self._max_difference:
            self._warn(frame, difference)
            return False
        self._was_lost = False
        self.learn(frame, maps)
        return True

    def _warn(self, frame: Frame, difference: float) -> None:
        if not self._has_warned:
            self._on_warning(
                f"whoever appeared at {frame.stamp_ns * 1e-9:.2f} s does not look like the person learned so far (colours"
                f" differ by {difference:.2f}, {self._max_difference:.2f} is the limit) and is not learned from;"
                " --config.max-unlikeness 1 learns from anybody"
            )
        self._has_warned = True

    def learn(self, frame: Frame, maps: PriorMaps) -> None:
        sums, counts = _part_sums(frame, maps)
        self._sums += sums
        self._counts += counts

    def difference(self, frame: Frame, maps: PriorMaps) -> float | None:
        """Mean absolute difference of the parts' colours, in [0, 1], parts weighted by the pixels they have in this frame;
        None when no part can be compared."""
        sums, counts = _part_sums(frame, maps)
        both = (counts >= MIN_PIXELS) & (self._counts >= MIN_PIXELS)
        if not both.any():
            return None
        now, known = (s[both] / c[both, None] for s, c in ((sums, counts), (self._sums, self._counts)))
        return float(np.average(np.abs(now - known).mean(1), weights=counts[both]) / 255)


def _part_sums(frame: Frame, maps: PriorMaps) -> tuple[Float[np.ndarray, "256 3"], Float[np.ndarray, "256"]]:
    """Sums of colours and numbers of pixels by label, inside the mask."""
    if maps.mask is None or maps.labels is None:
        return np.zeros((NUM_LABELS, 3)), np.zeros(NUM_LABELS)
    labels, mask, rgb = maps.labels[::STRIDE, ::STRIDE], maps.mask[::STRIDE, ::STRIDE], frame.rgb[::STRIDE, ::STRIDE]
    shown = (mask > 0.5) & (labels > 0) & (labels < 255)
    parts, colors = labels[shown], rgb[shown].astype(np.float64)
    sums = np.stack([np.bincount(parts, colors[:, k], minlength=NUM_LABELS) for k in range(3)], 1)
    return sums, np.bincount(parts, minlength=NUM_LABELS).astype(np.float64)
