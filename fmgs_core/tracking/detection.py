"""The detector's landmarks of one frame, and what the solver is told about them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.tracking.landmarks import LAYOUT, MIRRORED, NUM_DETECTED, LandmarkTable
from fmgs_core.tracking.solver import LandmarkTerms
from fmgs_core.types import Keypoints

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
TRUNK = [LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]

# Coordinates beyond this [px, m] are treated like NaN: squares and least squares of them would not be finite.
ABSURD = 1e6

# Weights of the robust terms, found by search on rendered sequences; the L1-like bound on directions matters most.
LANDMARK_SIGMA_HEIGHTS, LANDMARK_HUBER, BONE_HUBER = 0.014, 2.2, 0.16


@dataclass(frozen=True, eq=False)
class Detection:
    """MediaPipe's 33 landmarks, as they came or with left and right exchanged."""

    pixels: Float[np.ndarray, "33 2"]
    visibility: Float[np.ndarray, "33"]
    """0 for a landmark with a value that is not finite or absurd; its coordinates are then 0 too."""
    world: Float[np.ndarray, "33 3"]
    """Camera axes, up to scale."""

    @property
    def center(self) -> Float[np.ndarray, "2"]:
        """Middle of shoulders and hips [px]."""
        return self.pixels[TRUNK].mean(0)

    @property
    def yaw(self) -> float:
        """Turn about the vertical [rad], 0 facing the camera."""
        axis = self.world[LEFT_SHOULDER] - self.world[RIGHT_SHOULDER] + self.world[LEFT_HIP] - self.world[RIGHT_HIP]
        return float(np.arctan2(axis[2], axis[0]))

    def exchanged(self, indices: Int[np.ndarray, " n"] | list[int], *, mirror_depth: bool = False) -> "Detection":
        """The detection had the detector named the sides of these landmarks the other way round."""
        order = np.arange(NUM_DETECTED)
        order[indices] = MIRRORED[indices]
        world = self.world[order] * ([1.0, 1.0, -1.0] if mirror_depth else 1.0)
        return Detection(self.pixels[order], self.visibility[order], world)


def detection_of(keypoints: Keypoints | None) -> Detection | None:
    """None when there is nobody, or when the trunk or more than half of the landmarks are not finite.

    Raises:
        ValueError: another layout than MediaPipe's, a wrong number of landmarks, or no 3-D landmarks.
    """
    if keypoints is None:
        return None
    if keypoints.layout != LAYOUT or keypoints.points.shape != (NUM_DETECTED, 3):
        raise ValueError(
            f"keypoints: expected layout {LAYOUT!r} of shape ({NUM_DETECTED}, 3),"
            f" got {keypoints.layout!r} of shape {keypoints.points.shape}"
        )
    if keypoints.points_3d is None or keypoints.points_3d.shape != (NUM_DETECTED, 3):
        raise ValueError(f"keypoints.points_3d: expected the detector's ({NUM_DETECTED}, 3) world landmarks, got none such")
    values = np.concatenate([keypoints.points, keypoints.points_3d], 1).astype(np.float64)
    finite = (np.abs(values) < ABSURD).all(1)  # NaN compares false
    if not finite[TRUNK].all() or finite.mean() < 0.5:
        return None
    values[~finite] = 0.0
    return Detection(values[:, :2], np.clip(values[:, 2], 0.0, 1.0), values[:, 3:])


def landmark_terms(detection: Detection, table: LandmarkTable, height_px: float) -> LandmarkTerms:
    """Residual targets and weights; `height_px` is the size of the upright person in the picture."""
    visibility = np.where(detection.visibility > 0, detection.visibility.clip(0.05), 0.0)
    a, b = table.bones_detected.T
    return LandmarkTerms(
        points=table.points,
        targets=np.ascontiguousarray(detection.pixels[table.detected]),
        weights=visibility[table.detected] * table.weights,
        sigma_px=LANDMARK_SIGMA_HEIGHTS * height_px,
        huber=LANDMARK_HUBER,
        bones=table.bones,
        directions=unit(detection.world[b] - detection.world[a]),
        bone_weights=np.sqrt(visibility[a] * visibility[b]),
        bone_sigmas=table.bone_sigmas,
        bone_huber=BONE_HUBER,
    )


def along_viewing_ray(detection: Detection, intrinsics: tuple[float, float, float, float]) -> Detection:
    """World landmarks turned from the detector's crop, which looks straight at the hips, into the camera's axes."""
    fx, fy, cx, cy = intrinsics
    u, v = detection.pixels[[LEFT_HIP, RIGHT_HIP]].mean(0)
    ray = unit(np.array([(u - cx) / fx, (v - cy) / fy, 1.0]))
    return Detection(detection.pixels, detection.visibility, detection.world @ rotation_between(np.array([0, 0, 1.0]), ray).T)


def unit(v: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)


def rotation_between(a: Float[np.ndarray, "3"], b: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest rotation that takes unit vector a to unit vector b; of the many half turns one."""
    c = float(a @ b)
    if c < -0.9999:
        axis = unit(np.cross(a, np.eye(3)[np.abs(a).argmin()]))
        return 2 * np.outer(axis, axis) - np.eye(3)
    x, y, z = np.cross(a, b)
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + K + K @ K / (1 + c)
