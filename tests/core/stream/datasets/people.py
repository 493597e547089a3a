"""A person of 24 boxes, one per SMPL joint, with a model file in SMPL's format, and pictures of them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_joints, posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState, Camera

PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]
JOINTS = np.array([
    [0, 0, 0], [0.1, -0.1, 0], [-0.1, -0.1, 0], [0, 0.15, 0], [0.1, -0.45, 0], [-0.1, -0.45, 0], [0, 0.25, 0], [0.1, -0.85, 0],
    [-0.1, -0.85, 0], [0, 0.35, 0], [0.1, -0.9, 0.1], [-0.1, -0.9, 0.1], [0, 0.5, 0], [0.08, 0.42, 0], [-0.08, 0.42, 0],
    [0, 0.62, 0], [0.2, 0.42, 0], [-0.2, 0.42, 0], [0.45, 0.42, 0], [-0.45, 0.42, 0], [0.7, 0.42, 0], [-0.7, 0.42, 0],
    [0.8, 0.42, 0], [-0.8, 0.42, 0],
])  # fmt: skip
_CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * [0.09, 0.13, 0.08]
_SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
_TRIANGLES = np.concatenate([_SIDES[:, [0, 1, 2]], _SIDES[:, [0, 2, 3]]])


def write_smpl(path: Path) -> Path:
    """The pelvis is away from the origin, as SMPL's is, and betas and poses change the surface, as SMPL's do."""
    rng, J = np.random.default_rng(0), len(PARENTS)
    joints = JOINTS + np.array([0.0, -0.2, 0.03])
    vertices = (joints[:, None] + _CUBE).reshape(-1, 3)
    owner = np.repeat(np.arange(J), len(_CUBE))
    weights = np.eye(J)[owner]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        v_template=vertices,
        shapedirs=rng.normal(0, 3e-3, (len(vertices), 3, 10)),
        posedirs=rng.normal(0, 1e-4, (len(vertices), 3, 9 * (J - 1))),
        f=(np.arange(J)[:, None, None] * len(_CUBE) + _TRIANGLES).reshape(-1, 3),
        kintree_table=np.stack([[2**32 - 1, *PARENTS[1:]], np.arange(J)]).astype(np.int64),
        J_regressor=weights.T / len(_CUBE),
        weights=weights,
    )
    return path


@dataclass(frozen=True)
class Performance:
    """Poses of the person in SMPL's own parameters, root included."""

    betas: np.ndarray
    poses: np.ndarray
    """(n, 24, 3)"""

    def model_points(self, body: BodyModel, index: int, pose: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Vertices and joints in SMPL's coordinates, before any translation."""
        pose = self.poses[index] if pose is None else pose
        state = BodyState(self.betas, pose, np.zeros(3), np.zeros(0))
        return posed_vertices(body, state), posed_joints(body, state)


def perform(count: int, root: np.ndarray, seed: int = 1) -> Performance:
    """`count` different poses that face roughly where `root` (axis-angle) turns the body."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(0, 0.2, (count, 24, 3))
    turns = [cv2.Rodrigues(np.array([0, 0.5 * np.sin(i), 0.0]))[0] for i in range(count)]
    poses[:, 0] = [cv2.Rodrigues(cv2.Rodrigues(root)[0] @ turn)[0].ravel() for turn in turns]
    return Performance(rng.normal(0, 1, 10), poses)


def photograph(vertices_camera: np.ndarray, body: BodyModel, K: np.ndarray, distortion: np.ndarray, size: tuple[int, int]):
    """BGR picture over a wall and mask (0, 1) of vertices in camera axes, through OpenCV's K and distortion."""
    camera = Camera(K + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]), *size, np.eye(4))
    face = draw_mesh(vertices_camera, body.faces, camera).face
    colors = np.random.default_rng(5).integers(40, 255, (24, 3)).astype(np.uint8)
    picture = np.where((face >= 0)[..., None], colors[face // len(_TRIANGLES)], 90).astype(np.uint8)
    columns, rows = np.meshgrid(np.arange(size[0], dtype=np.float64), np.arange(size[1], dtype=np.float64))
    straight = cv2.undistortPoints(np.stack([columns, rows], -1).reshape(-1, 1, 2), K, distortion, P=K)
    xy = straight.reshape(*face.shape, 2).astype(np.float32)
    mask = cv2.remap((face >= 0).astype(np.uint8), xy, None, cv2.INTER_NEAREST)
    return cv2.remap(picture, xy, None, cv2.INTER_NEAREST), mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def drawn_mask(body: BodyModel, state: BodyState, camera: Camera) -> np.ndarray:
    return draw_mesh(posed_vertices(body, state), body.faces, camera).face >= 0
