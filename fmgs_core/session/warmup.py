"""Compiles, or loads from numba's cache, what a stream will need, before there is a stream to lose frames of."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.config import SessionConfig
from fmgs_core.priors.template import template_maps
from fmgs_core.session.events import Event, Preparing
from fmgs_core.tracking.floor import MIN_FRAMES
from fmgs_core.tracking.landmarks import landmark_table
from fmgs_core.tracking.second_look import SecondLook
from fmgs_core.tracking.tracker import BodyTracker
from fmgs_core.training.trainer import Trainer
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState, Camera, Frame, Keypoints, PriorMaps

DISTANCE_M = 3.0
SIZE_PX = 128
FRAME_NS = 66_000_000


def warm_up(body: BodyModel, config: SessionConfig, on_event: Callable[[Event], None]) -> None:
    """Tracks pictures of the bare body, looks at them again and takes one training step on them; nothing of that is kept.

    A second or two; about a minute on a machine where the kernels have never been compiled.
    """
    on_event(Preparing("loading kernels (they are compiled when this machine has never run them, which takes a minute)"))
    frames, state = standing_frames(body, SIZE_PX, MIN_FRAMES)
    tracker = BodyTracker(body, config.tracker)
    second_look = SecondLook(body, config.tracker, config.smoothing)
    for frame, maps in frames:
        evidence = tracker.update(frame, maps).evidence
        assert evidence is not None  # a bare body with perfect landmarks is believed
        second_look.add(evidence)
    second_look.states()
    if config.trainer.backend == "cuda":
        from fmgs_core.raster.cuda import compile_gsplat

        compile_gsplat(lambda message: on_event(Preparing(message)), len(SAPIENS28_NAMES))
    trainer = Trainer(Avatar(body, device=config.trainer.device), config.trainer)
    trainer.add(*frames[0], state)
    trainer.step()


def standing_frames(body: BodyModel, size_px: int, count: int) -> tuple[list[tuple[Frame, PriorMaps]], BodyState]:
    """Grey pictures with perfect maps of the bare body in its T-pose, and its state."""
    state = replace(body.neutral_state(), transl=np.array([0, 0, -DISTANCE_M]))
    K = np.array([[size_px, 0, size_px / 2], [0, size_px, size_px / 2], [0, 0, 1.0]])
    camera = Camera(K, size_px, size_px, T_CAMERA_WORLD_UNPOSED)
    mask = (draw_mesh(posed_vertices(body, state), body.faces, camera).face >= 0).astype(np.float32)
    maps = replace(template_maps(body, state, camera), mask=mask, keypoints=_landmarks(body, state, camera), geometry_trust=1.0)
    grey = np.full((size_px, size_px, 3), 128, np.uint8)
    return [(Frame(i * FRAME_NS, grey, camera), maps) for i in range(count)], state


def _landmarks(body: BodyModel, state: BodyState, camera: Camera) -> Keypoints:
    """What a perfect detector would find; those that the tracker does not use lie on the nose."""
    table = landmark_table(body, num_betas=1)
    world = np.repeat(table.points.rest[:1], table.count, axis=0)
    world[table.detected] = table.points.rest
    points = np.concatenate([camera.project(world + state.transl), np.ones((table.count, 1))], 1)
    return Keypoints(table.layout, points, world @ camera.T_camera_world[:3, :3].T)
