"""The 18 OpenPose points of a posed body in the picture (hri_msgs/Skeleton2D), and the region it fills."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.kinematics import NUM_JOINTS, BodyPose, Skeleton, posed_points, skeleton_of
from fmgs_core.tracking.landmarks import LandmarkTable, landmark_table
from fmgs_core.types import BodyState, Camera
from fmgs_ros.transforms import posed_skeleton

# In the order of hri_msgs/Skeleton2D: a joint of the body or a landmark of the face by its name, or the middle of two.
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
_POINTS: tuple[str | tuple[str, str], ...] = (
    "nose",
    ("left_shoulder", "right_shoulder"),  # OpenPose's neck
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
)
NUM_POINTS = len(_POINTS)
# Of the body's height in the picture: the joints lie inside of it.
_MARGIN = 0.08


@dataclass(frozen=True)
class Region:
    """A rectangle in the picture, each value in [0, 1] of its width or height."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    def cropped(self, picture: np.ndarray) -> np.ndarray:
        """The pixels inside, at least one."""
        height, width = picture.shape[:2]
        x0, y0 = min(int(self.xmin * width), width - 1), min(int(self.ymin * height), height - 1)
        x1, y1 = max(round(self.xmax * width), x0 + 1), max(round(self.ymax * height), y0 + 1)
        return picture[y0:y1, x0:x1]


def skeleton_points(body: BodyModel, state: BodyState, camera: Camera, confidence: float) -> Float[np.ndarray, "18 3"]:
    """x and y in [0, 1] of the picture, and confidence. What lies outside of the picture, and the face's points of a body on
    which they are not known, have confidence 0.

    Args:
        state: in the optical frame.
    """
    points = _points_in_camera(body, state)
    pixels = replace(camera, T_camera_world=np.eye(4)).project(points)
    normalised = pixels / (camera.width, camera.height)
    inside = ((normalised >= 0) & (normalised <= 1)).all(1)
    known = np.nan_to_num(np.clip(normalised, 0, 1))
    return np.column_stack([known, np.where(inside, confidence, 0.0)])


def region(points: Float[np.ndarray, "18 3"], mask: Float[np.ndarray, "h w"] | None = None) -> Region | None:
    """Around the mask, or around the points with a margin where there is none; None when neither shows anything."""
    if mask is not None and (mask > 0.5).any():
        rows, columns = np.flatnonzero((mask > 0.5).any(1)), np.flatnonzero((mask > 0.5).any(0))
        height, width = mask.shape
        return Region(columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    seen = points[points[:, 2] > 0, :2]
    if not len(seen):
        return None
    margin = _MARGIN * np.ptp(seen[:, 1])
    low, high = np.clip(seen.min(0) - margin, 0, 1), np.clip(seen.max(0) + margin, 0, 1)
    return Region(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _points_in_camera(body: BodyModel, state: BodyState) -> Float[np.ndarray, "18 3"]:
    joints = dict(zip(body.joint_names, posed_skeleton(body, state).positions, strict=True))
    face = _face_points(body, state)
    points = np.full((NUM_POINTS, 3), np.nan)
    for i, point in enumerate(_POINTS):
        if isinstance(point, tuple):
            points[i] = np.mean([joints[name] for name in point], axis=0)
        elif point not in _FACE:
            points[i] = joints[point]
        elif point in face:
            points[i] = face[point]
    return points


def _face_points(body: BodyModel, state: BodyState) -> dict[str, Float[np.ndarray, "3"]]:
    """Nose, eyes and ears by name; empty on a body with other vertices."""
    tables = _landmarks(body)
    if tables is None:
        return {}
    table, skeleton = tables
    betas = np.zeros(body.shapedirs.shape[2])
    betas[: len(state.betas)] = state.betas
    rotations = Rotation.from_rotvec(state.pose[:NUM_JOINTS].astype(np.float64)).as_matrix()
    pose = BodyPose(rotations, state.transl.astype(np.float64), betas)
    points = posed_points(table.points, skeleton, pose)
    return {name: points[table.row(name)] for name in _FACE}


@lru_cache(maxsize=4)
def _landmarks(body: BodyModel) -> tuple[LandmarkTable, Skeleton] | None:
    num_betas = body.shapedirs.shape[2]
    try:
        return landmark_table(body, num_betas), skeleton_of(body, num_betas)
    except ValueError:
        # Says that the landmarks' vertices are not where they are expected: the tracker refuses such a body, drawing need not.
        return None
