"""The room behind the person: a wall and a floor hit by the camera's rays, with patterns that do not move."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from fmgs_core.types import Camera
from subjects.textures import Points, around, color, grain, mixed, stripes

_SAMPLES = 3


@dataclass(frozen=True)
class Room:
    wall: str
    """"bricks", "paper" or "panels"."""
    wall_z_m: float
    """Where the wall stands behind the person, who is at 0."""
    floor: str
    """sRGB of the boards."""


def background(room: Room, camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """sRGB in [0, 1], without noise; a soft dark blob lies where the person stands."""
    fine = camera.resized(camera.width * _SAMPLES, camera.height * _SAMPLES)
    u, v = np.meshgrid(np.arange(fine.width) + 0.5, np.arange(fine.height) + 0.5)
    rays = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3) @ np.linalg.inv(fine.K).T @ fine.T_camera_world[:3, :3]
    eye = -fine.T_camera_world[:3, :3].T @ fine.T_camera_world[:3, 3]
    to_floor = np.where(rays[:, 1] < 0, -eye[1] / np.minimum(rays[:, 1], -1e-9), np.inf)
    to_wall = (room.wall_z_m - eye[2]) / np.minimum(rays[:, 2], -1e-9)
    on_floor = to_floor < to_wall
    points = eye + np.minimum(to_floor, to_wall)[:, None] * rays
    out = np.empty_like(points)
    out[on_floor], out[~on_floor] = _floor(room, points[on_floor]), _wall(room, points[~on_floor])
    picture = np.clip(out, 0, 1).reshape(fine.height, fine.width, 3)
    return cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)


def _floor(room: Room, p: Points) -> Float[np.ndarray, "n 3"]:
    board = np.floor(p[:, 0] / 0.14)
    gap = np.maximum(stripes(p[:, 0], 0.14, 0.03), stripes(p[:, 2] + 0.37 * board, 1.1, 0.006))
    wood = color(room.floor) * (1 + 0.10 * np.sin(board * 12.9) + 0.06 * grain(p * (6, 1, 1), 0.4, 11))[:, None]
    blob = 0.45 * np.exp(-(p[:, 0] ** 2 + p[:, 2] ** 2) / (2 * 0.22**2))
    return mixed(wood, color(room.floor) * 0.45, gap) * (1 - blob[:, None])


def _wall(room: Room, p: Points) -> Float[np.ndarray, "n 3"]:
    x, y = p[:, 0], p[:, 1]
    if room.wall == "bricks":
        row = np.floor(y / 0.09)
        joint = np.maximum(stripes(y, 0.09, 0.12), stripes(x + 0.12 * (row % 2), 0.24, 0.05))
        out = mixed(color("a5634b") * (1 + 0.12 * np.sin(row * 7.1 + np.floor((x + 0.12 * (row % 2)) / 0.24) * 3.7))[:, None],
                    color("b9b0a4"), joint)  # fmt: skip
    elif room.wall == "paper":
        leaf = np.hypot(x % 0.2 - 0.1, (y + 0.1 * (np.floor(x / 0.2) % 2)) % 0.2 - 0.1) < 0.045
        out = mixed(color("a9b7a0"), color("7f9480"), np.maximum(leaf, stripes(x, 0.2, 0.03)))
    else:
        out = mixed(color("c9c3b8"), color("8f897d"), np.maximum(stripes(x, 0.45, 0.02), stripes(y, 0.9, 0.012)))
        poster = (np.abs(x - 0.7) < 0.3) & (np.abs(y - 1.4) < 0.4)
        swirl = stripes(np.hypot(x - 0.7, y - 1.4) + 0.05 * around(p), 0.12)
        out[poster] = mixed(color("274b7a"), color("e0b23c"), swirl)[poster]
    shade = 1 - 0.12 * np.clip(np.abs(x) - 0.5, 0, 2) + 0.03 * grain(p, 0.8, 12)
    skirting = (y < 0.09) & (room.wall != "bricks")
    return np.where(skirting[:, None], color("e8e4da"), out) * shade[:, None]
