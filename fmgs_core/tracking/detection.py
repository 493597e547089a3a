"""The detector's landmarks of one frame, and what the solver is told about them."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from fmgs_core.body.template import BodyModel
from fmgs_core.keypoints import layout_of
from fmgs_core.tracking.landmarks import LandmarkTable, landmark_table
from fmgs_core.tracking.solver import LandmarkTerms
from fmgs_core.types import Keypoints

# Coordinates beyond this [px, m] are treated like NaN: squares and least squares of them would not be finite.
ABSURD = 1e6

# Weights of the robust terms, found by search on rendered sequences; the L1-like bound on directions matters most.
LANDMARK_SIGMA_HEIGHTS, LANDMARK_HUBER, BONE_HUBER = 0.014, 2.2, 0.16


@dataclass(frozen=True, eq=False)
class Detection:
    """The landmarks that a table fits, in its order, as they came or with left and right exchanged."""

    table: LandmarkTable
    pixels: Float[np.ndarray, "L 2"]
    visibility: Float[np.ndarray, " L"]
    """0 for a landmark with a value that is not finite or absurd; its coordinates are then 0 too."""
    world: Float[np.ndarray, "L 3"]
    """Camera axes, up to scale."""
    solid: Bool[np.ndarray, " L"]
    """Whether `world` is known; it is 0 where it is not."""

    @property
    def has_depth(self) -> bool:
        """Whether a pose can be read off `world`."""
        return bool(self.solid[self.table.trunk].all() and self.solid.mean() >= 0.5)

    @property
    def trust(self) -> Float[np.ndarray, " L"]:
        """Visibility, but never so little that a landmark is lost altogether."""
        return np.where(self.visibility > 0, self.visibility.clip(0.05), 0.0)

    @property
    def center(self) -> Float[np.ndarray, "2"]:
        """Middle of shoulders and hips [px]."""
        return self.pixels[self.table.trunk].mean(0)

    @property
    def turn(self) -> float:
        """Angle about the vertical [rad] in [0, pi], 0 facing the camera."""
        if self.has_depth:
            axis = _left_axis(self.world, self.table)
            return float(abs(np.arctan2(axis[2], axis[0])))
        trunk = _upward(self.pixels, self.table)
        length = np.linalg.norm(trunk) + 1e-9
        across = _left_axis(self.pixels, self.table) @ np.array([-trunk[1], trunk[0]]) / length
        rest = self.table.points.rest
        widest = length * _left_axis(rest, self.table)[0] / _upward(rest, self.table)[1]
        return float(np.arccos(np.clip(across / widest, -1, 1)))

    def exchanged(self, rows: Int[np.ndarray, " n"] | list[int] | None = None, *, mirror_depth: bool = False) -> "Detection":
        """The detection had the detector named the sides of these landmarks (of all: None) the other way round."""
        order = np.arange(len(self.visibility))
        chosen = order if rows is None else rows
        order[chosen] = self.table.mirrored[chosen]
        world = self.world[order] * ([1.0, 1.0, -1.0] if mirror_depth else 1.0)
        return Detection(self.table, self.pixels[order], self.visibility[order], world, self.solid[order])


def detection_of(keypoints: Keypoints, body: BodyModel, num_betas: int) -> Detection | None:
    """None when the trunk or more than half of the landmarks are not finite. A landmark whose 3-D alone is not finite keeps
    its place in the picture.

    Raises:
        ValueError: an unknown layout or a wrong number of landmarks.
    """
    table = landmark_table(body, num_betas, layout_of(keypoints).name)
    points = keypoints.points[table.detected].astype(np.float64)
    finite = (np.abs(points) < ABSURD).all(1)  # NaN compares false
    if not finite[table.trunk].all() or finite.mean() < 0.5:
        return None
    points[~finite] = 0.0
    world = np.zeros_like(points) if keypoints.points_3d is None else keypoints.points_3d[table.detected].astype(np.float64)
    solid = finite & (keypoints.points_3d is not None) & (np.abs(world) < ABSURD).all(1)
    world[~solid] = 0.0
    return Detection(table, points[:, :2], np.clip(points[:, 2], 0.0, 1.0), world, solid)


def landmark_terms(detection: Detection, height_px: float) -> LandmarkTerms:
    """Residual targets and weights; `height_px` is the size of the upright person in the picture."""
    table, trust = detection.table, detection.trust
    known = detection.solid[table.bones].all(1)
    bones = table.bones[known]
    a, b = bones.T
    return LandmarkTerms(
        points=table.points,
        targets=np.ascontiguousarray(detection.pixels),
        weights=trust * table.weights,
        sigma_px=LANDMARK_SIGMA_HEIGHTS * height_px,
        huber=LANDMARK_HUBER,
        bones=bones,
        directions=unit(detection.world[b] - detection.world[a]),
        bone_weights=np.sqrt(trust[a] * trust[b]),
        bone_sigmas=table.bone_sigmas[known],
        bone_huber=BONE_HUBER,
    )


def along_viewing_ray(detection: Detection, intrinsics: tuple[float, float, float, float]) -> Detection:
    """World landmarks turned from the detector's crop, which looks straight at the hips, into the camera's axes."""
    fx, fy, cx, cy = intrinsics
    u, v = detection.pixels[detection.table.rows("hip")].mean(0)
    ray = unit(np.array([(u - cx) / fx, (v - cy) / fy, 1.0]))
    return replace(detection, world=detection.world @ rotation_between(np.array([0, 0, 1.0]), ray).T)


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


def _left_axis(points: Float[np.ndarray, "L d"], table: LandmarkTable) -> Float[np.ndarray, " d"]:
    """From the right side to the left, of shoulders and hips together."""
    left_shoulder, right_shoulder, left_hip, right_hip = points[table.trunk]
    return left_shoulder - right_shoulder + left_hip - right_hip


def _upward(points: Float[np.ndarray, "L d"], table: LandmarkTable) -> Float[np.ndarray, " d"]:
    """From the middle of the hips to the middle of the shoulders."""
    left_shoulder, right_shoulder, left_hip, right_hip = points[table.trunk]
    return 0.5 * (left_shoulder + right_shoulder - left_hip - right_hip)
