"""Rendered-without-pictures people: exact landmarks of a body in known poses, in the detector's format."""

import numpy as np

from fmgs_core.body.default import default_body
from fmgs_core.geometry import look_at
from fmgs_core.keypoints import LAYOUTS
from fmgs_core.tracking.kinematics import BodyPose, posed_points, skeleton_of
from fmgs_core.tracking.landmarks import landmark_table
from fmgs_core.tracking.so3 import exp_so3
from fmgs_core.types import BodyState, Camera, Frame, Keypoints, PriorMaps

BODY = default_body()
NUM_BETAS = 6
SKELETON, TABLE = skeleton_of(BODY, NUM_BETAS), landmark_table(BODY, NUM_BETAS)
TABLES = {layout: landmark_table(BODY, NUM_BETAS, layout) for layout in LAYOUTS}
CAMERA = Camera(
    np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]]),
    640,
    480,
    look_at(np.array([0.3, 1.2, 3.6]), np.array([0.0, 0.9, 0.0])),
)
FRAME_NS = 66_666_667


def state_of(yaw: float, *, arms: float = 0.0, step: float = 0.2, transl=(0.0, 0.0, 0.0), betas=()) -> BodyState:
    """A walker-like pose: hanging arms raised forward by `arms`, one leg `step` ahead, feet about on the floor [rad, m]."""
    pose = np.zeros((55, 3))
    pose[0] = (0, yaw, 0)
    pose[16], pose[17] = (0, -0.2, -1.1), (0, 0.2, 1.1)
    pose[18], pose[19] = (0, -0.4 - arms, 0), (0, 0.4 + arms, 0)
    pose[1], pose[2] = (-step, 0, 0), (0.5 * step, 0, 0)
    pose[4], pose[5] = (0.8 * step, 0, 0), (1.2 * step, 0, 0)
    full = np.zeros(BODY.shapedirs.shape[2])
    full[: len(betas)] = betas
    return BodyState(full, pose, np.array([0, 0.99, 0]) + transl, np.zeros(BODY.exprdirs.shape[2]))


def camera_pose(state: BodyState, camera: Camera) -> BodyPose:
    """The solver's unknowns that belong to a state."""
    rotations = np.stack([exp_so3(w.astype(float)) for w in state.pose[:22]])
    betas = state.betas[:NUM_BETAS].astype(float)
    rest_root = SKELETON.joints[0] + SKELETON.joint_dirs[0] @ betas
    T = camera.T_camera_world
    rotations[0] = T[:3, :3] @ rotations[0]
    return BodyPose(rotations, T[:3, :3] @ (rest_root + state.transl) + T[:3, 3] - rest_root, betas)


def keypoints_of(
    state: BodyState,
    camera: Camera,
    *,
    noise_px: float = 0.0,
    depth_noise_m: float = 0.0,
    seed: int = 0,
    layout: str = "mediapipe33",
    depth: bool = True,
) -> Keypoints:
    """Rows that the tracker does not read are NaN, which would show if it did."""
    rng, table = np.random.default_rng(seed), TABLES[layout]
    points = posed_points(table.points, SKELETON, camera_pose(state, camera))
    pixels = (points @ camera.K.T)[:, :2] / points[:, 2:]
    image, world = np.full((table.count, 3), np.nan), np.full((table.count, 3), np.nan)
    image[table.detected] = np.c_[pixels + noise_px * rng.standard_normal(pixels.shape), np.ones(len(pixels))]
    # MediaPipe's world landmarks look along the ray to the hips; they have their own scale and origin.
    hips = points[table.rows("hip")].mean(0)
    local = (points - hips) @ _rotation_to_ray(hips)
    local[:, 2] += depth_noise_m * rng.standard_normal(len(local))
    world[table.detected] = 0.9 * local
    return Keypoints(layout, image, world if depth else None)


def _rotation_to_ray(hips: np.ndarray) -> np.ndarray:
    z = hips / np.linalg.norm(hips)
    axis = np.cross([0, 0, 1.0], z)
    angle = np.arcsin(np.linalg.norm(axis))
    return exp_so3(axis / (np.linalg.norm(axis) + 1e-12) * angle)


def flipped(keypoints: Keypoints, *, legs_only: bool = False) -> Keypoints:
    """What a detector reports that takes a back for a front, or one leg for the other."""
    table = TABLES[keypoints.layout]
    order = np.arange(table.count)
    side = np.array(table.rows("hip") + table.below_hips) if legs_only else np.arange(len(table.names))
    order[table.detected[side]] = table.detected[table.mirrored[side]]
    points_3d = keypoints.points_3d
    if points_3d is not None:
        points_3d = points_3d[order] * [1.0, 1.0, 1.0 if legs_only else -1.0]
    return Keypoints(keypoints.layout, keypoints.points[order], points_3d)


def frame_at(index: int, camera: Camera = CAMERA) -> Frame:
    return Frame(1_000_000_000 + index * FRAME_NS, np.zeros((camera.height, camera.width, 3), np.uint8), camera)


def maps_of(keypoints: Keypoints | None, mask: np.ndarray | None = None, face_score: float | None = None) -> PriorMaps:
    return PriorMaps(mask=mask, keypoints=keypoints, face_score=face_score)
