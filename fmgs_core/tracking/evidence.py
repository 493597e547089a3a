"""What was seen of the person in one frame: all that is needed to judge another pose of it later."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.tracking.kinematics import BodyPose
from fmgs_core.tracking.solver import Problem
from fmgs_core.types import Camera


@dataclass(frozen=True, eq=False)
class FrameEvidence:
    """One fitted frame; about 50 kB."""

    stamp_ns: int
    camera: Camera
    problem: Problem
    """With the contour as it was paired last."""
    pose: BodyPose
    """In camera axes, as fitted from the past alone."""
    vertices: Int[np.ndarray, " n"]
    """The body vertex of each of the contour's rows."""
    soles_seen: Float[np.ndarray, "4"]
    """Visibility of left and right heel, left and right ball of the foot, 0 to 1."""
    inflation: Float[np.ndarray, " V"] | None
    """The clothes known after this frame [m], None before the first contour; only the newest frame's are needed."""
