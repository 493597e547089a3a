"""Cameras around a body. Kind: property."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.rendering.views import around, facing_yaw, framing_camera, orbit
from fmgs_core.types import BodyState

SIZE = 200


def standing(yaw: float = 0.0, transl: tuple = (0.0, 0.0, 0.0)) -> BodyState:
    state = default_body().neutral_state()
    pose = state.pose.copy()
    pose[0] = (0, yaw, 0)
    return replace(state, pose=pose, transl=np.array(transl, np.float32))


@pytest.mark.parametrize(("yaw", "transl"), [(0.0, (0, 0, 0)), (2.0, (1.5, -0.7, -4.0))])
def test_every_view_around_holds_the_whole_body_in_its_middle(yaw: float, transl: tuple):
    body, state = default_body(), standing(yaw, transl)
    vertices = posed_vertices(body, state).astype(np.float64)
    cameras = list(around(body, state.betas, state, 8, SIZE))
    assert len(cameras) == 8
    for camera in cameras:
        pixels = camera.project(vertices)
        assert (pixels > 0).all() and (pixels < SIZE).all()
        middle = (pixels.min(0) + pixels.max(0)) / 2
        np.testing.assert_allclose(middle, SIZE / 2, atol=0.1 * SIZE)  # arms towards the camera look longer; measured 0.07


def test_the_first_view_around_is_from_the_front_whichever_way_the_body_faces():
    body = default_body()
    for yaw in (0.0, 1.0, -2.5):
        state = standing(yaw)
        camera = next(around(body, state.betas, state, 4, SIZE))
        eye = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
        front = np.array([np.sin(yaw), 0, np.cos(yaw)])
        horizontal = eye * [1, 0, 1] / np.linalg.norm(eye * [1, 0, 1])
        assert horizontal @ front > 0.99
        assert facing_yaw(state) == pytest.approx(yaw, abs=1e-6)


def test_a_body_is_as_large_whatever_its_height():
    body, betas = default_body(), np.zeros(16, np.float32)
    betas[0] = 2
    spans = []
    for shape in (np.zeros(16, np.float32), betas):
        state = replace(standing(), betas=shape)
        pixels = next(around(body, shape, state, 1, SIZE)).project(posed_vertices(body, state).astype(np.float64))
        spans.append(np.ptp(pixels[:, 1]))
    assert spans[0] == pytest.approx(spans[1], rel=0.02)


def test_an_orbit_goes_once_around_at_one_distance_and_height():
    center = np.array([0.5, 1.0, -2.0])
    eyes = []
    for camera in orbit(center, 1.7, 12, SIZE, start_yaw=0.3, elevation=0.2):
        eyes.append(-camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3] - center)
        np.testing.assert_allclose(camera.project(center[None]), [[SIZE / 2, SIZE / 2]], atol=1e-6)
    yaws = np.unwrap([np.arctan2(e[0], e[2]) for e in eyes])
    np.testing.assert_allclose(yaws, 0.3 + 2 * np.pi * np.arange(12) / 12, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), np.linalg.norm(eyes[0]))
    np.testing.assert_allclose([e[1] / np.linalg.norm(e) for e in eyes], np.sin(0.2))


def test_yaw_grows_towards_the_bodys_left():
    """A body that faces +z has its left at +x (CONVENTIONS.md)."""
    camera = framing_camera(np.zeros(3), 1.7, np.pi / 2, 0.0, SIZE)
    eye = -camera.T_camera_world[:3, :3].T @ camera.T_camera_world[:3, 3]
    assert eye[0] > 1 and abs(eye[2]) < 1e-9
