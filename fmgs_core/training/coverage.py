"""From how many sides the person has been seen: the measure of what a stream may still have to show."""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.types import Camera

_BINS = 72
_REACH_DEG = (
    10.0  # A side counts as seen up to this far from the line of sight: 20 degrees from one frame to the next leave no gap
)


class YawCoverage:
    """Directions of view around the body, in its own axes: whether the person turns or the camera goes round is all one."""

    def __init__(self):
        self._centers_deg = np.arange(_BINS) * 360 / _BINS
        self._seen = np.zeros(_BINS, bool)
        self.frames_without_news = 0

    @property
    def degrees(self) -> float:
        """Of 360."""
        return float(self._seen.mean() * 360)

    def saw(self, yaw_deg: float) -> None:
        """One more frame, seen from yaw_deg."""
        away = np.abs((self._centers_deg - yaw_deg + 180) % 360 - 180)
        fresh = (away <= _REACH_DEG) & ~self._seen
        self._seen |= fresh
        self.frames_without_news = 0 if fresh.any() else self.frames_without_news + 1


def view_yaw_deg(camera: Camera, root: Float[np.ndarray, "3"], orientation: Float[np.ndarray, "3"]) -> float:
    """Where the camera stands as the body sees it: 0 in front, 90 at its left.

    Args:
        root: the pelvis in the world [m].
        orientation: of the body in the world, axis-angle [rad].
    """
    x, _, z = Rotation.from_rotvec(orientation).inv().apply(camera.center - root)
    return float(np.degrees(np.arctan2(x, z)))
