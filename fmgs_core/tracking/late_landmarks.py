"""Landmarks that come after their frame was fitted: those of a better detector, which takes its time."""

from dataclasses import replace

import numpy as np

from fmgs_core.tracking.detection import LANDMARK_SIGMA_HEIGHTS, Detection, landmark_terms
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.kinematics import BodyPose, RiderPoints, posed_points
from fmgs_core.tracking.solver import LandmarkTerms
from fmgs_core.tracking.tracker import WORST_ERROR_HEIGHTS
from fmgs_core.types import Camera


def with_landmarks(seen: FrameEvidence, detection: Detection, pose: BodyPose) -> FrameEvidence | None:
    """The frame judged by these landmarks in place of its own, whose depth is kept where the new ones have none.

    None when they are not of the person who stands in this pose: of somebody else, or with their sides exchanged.
    """
    old = seen.problem.landmarks
    height_px = old.sigma_px / LANDMARK_SIGMA_HEIGHTS
    if _median_error_px(seen, detection, pose) > WORST_ERROR_HEIGHTS * height_px:
        return None
    new = landmark_terms(detection, height_px)
    merged = new if detection.has_depth else _with_bones_of(new, old)
    return replace(seen, problem=seen.problem._replace(landmarks=merged))


def _median_error_px(seen: FrameEvidence, detection: Detection, pose: BodyPose) -> float:
    points = posed_points(detection.table.points, seen.problem.skeleton, pose)
    pixels = Camera(seen.camera.K, seen.camera.width, seen.camera.height, np.eye(4)).project(points)
    main = detection.table.main
    return float(np.median(np.linalg.norm(pixels - detection.pixels, axis=1)[main]))


def _with_bones_of(new: LandmarkTerms, old: LandmarkTerms) -> LandmarkTerms:
    """The old bones keep the old points, which weigh nothing in the picture any more."""
    used, bones = np.unique(old.bones, return_inverse=True)
    return new._replace(
        points=RiderPoints(*(np.concatenate([a, b[used]]) for a, b in zip(new.points, old.points, strict=True))),
        targets=np.concatenate([new.targets, old.targets[used]]),
        weights=np.concatenate([new.weights, np.zeros(len(used))]),
        bones=bones.reshape(-1, 2) + len(new.targets),
        directions=old.directions,
        bone_weights=old.bone_weights,
        bone_sigmas=old.bone_sigmas,
    )
