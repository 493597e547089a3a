"""Where the person is, for models that look at a box."""

import numpy as np

from fmgs_core.priors import Box
from fmgs_core.types import PriorMaps

MIN_CONFIDENCE = 0.5
"""Landmarks below this may lie anywhere."""


def box_of(maps: PriorMaps) -> Box | None:
    """The tightest box around the mask and the landmarks that are sure, inside the picture; None without a mask or a person."""
    if maps.mask is None:
        return None
    height, width = maps.mask.shape
    person = maps.mask > 0.5
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    if not len(rows):
        return None
    low, high = np.array([columns[0], rows[0]]), np.array([columns[-1], rows[-1]]) + 1
    if maps.keypoints is not None:
        points = maps.keypoints.points
        points = points[np.isfinite(points).all(1) & (points[:, 2] > MIN_CONFIDENCE)][:, :2]
        inside = points[((points >= 0) & (points < (width, height))).all(1)]
        low, high = np.floor(np.vstack([inside, low]).min(0)), np.ceil(np.vstack([inside, high]).max(0))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
