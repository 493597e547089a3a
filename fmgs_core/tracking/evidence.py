"""What was seen of the person in one frame: all that is needed to judge another pose of it later."""

from dataclasses import dataclass

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
