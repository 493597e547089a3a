"""What training and rendering are measured on: a person in random colours who turns before a random wall."""

from dataclasses import dataclass, replace

import numpy as np

from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.priors.template import template_maps
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState, Camera, Frame, Image, PriorMaps

FRAME_NS = 66_000_000


@dataclass(frozen=True)
class View:
    """One frame with all that prior and tracker could know of it."""

    frame: Frame
    maps: PriorMaps
    state: BodyState


def turning_person(body: BodyModel, count: int, size_px: int, person_px: int) -> list[View]:
    """`count` views of the T-pose, evenly once around, the person `person_px` high in square pictures.

    Colours are random: on plain ones, losses and their gradients would be zero almost everywhere.
    """
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (body.num_faces, 3), np.uint8)
    wall = rng.integers(0, 256, (size_px, size_px, 3), np.uint8)
    camera = standing_camera(size_px)
    distance_m = size_px * body.height(body.neutral_state().betas) / person_px
    states = (_turned(body, 2 * np.pi * i / count, distance_m) for i in range(count))
    return [_view(body, state, camera, i, texture, wall) for i, state in enumerate(states)]


def standing_camera(size_px: int) -> Camera:
    K = np.array([[size_px, 0, size_px / 2], [0, size_px, size_px / 2], [0, 0, 1.0]])
    return Camera(K, size_px, size_px, T_CAMERA_WORLD_UNPOSED)


def _turned(body: BodyModel, yaw: float, distance_m: float) -> BodyState:
    neutral = body.neutral_state()
    pose = neutral.pose.copy()
    pose[0] = (0, yaw, 0)
    return replace(neutral, pose=pose, transl=np.array([0, 0, -distance_m]))


def _view(body: BodyModel, state: BodyState, camera: Camera, index: int, texture: np.ndarray, wall: Image) -> View:
    face = draw_mesh(posed_vertices(body, state), body.faces, camera).face
    seen = face >= 0
    rgb = np.where(seen[..., None], texture[face], wall)
    maps = replace(template_maps(body, state, camera), mask=seen.astype(np.float32))
    return View(Frame(index * FRAME_NS, rgb, camera), maps, state)
