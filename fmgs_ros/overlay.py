"""A picture with what was made of it drawn over it. No ROS needed."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.concurrency import Latest
from fmgs_core.rendering.pictures import composite, draw
from fmgs_core.stream.intrinsics import shrunk
from fmgs_core.types import BodyState, Camera, Channel, Frame, Image
from fmgs_ros.avatar_config import OverlayConfig
from fmgs_ros.avatar_keeper import AvatarMaker

_OUTLINE_RGB = (255, 176, 0)
_OUTLINE_PX = 2
_COLOR = frozenset({Channel.RGB})
_STOP_CHECK_S = 0.2
# The avatar is made anew this often at most [s]: each time costs as much as two training steps.
_AVATAR_EVERY_S = 2.0


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture and what was tracked in it."""

    frame: Frame
    state: BodyState | None
    """In the world of the frame's camera."""
    frame_id: str


class OverlayDrawer:
    """Draws the newest of what was seen; `run` is the work of a thread.

    Args:
        config: asked before each picture.
        snapshot: asked for the newest avatar, None while there is none.
        publish: gets what was drawn.
    """

    def __init__(
        self,
        body: BodyModel,
        config: Callable[[], OverlayConfig],
        snapshot: Callable[[], AvatarSnapshot | None],
        publish: Callable[[Image, Seen], None],
    ):
        self._body, self._config, self._snapshot, self._publish = body, config, snapshot, publish
        self._maker = AvatarMaker(body, fill_unseen=False)
        self._made: tuple[AvatarSnapshot, Avatar] | None = None
        self._made_s = 0.0
        self._slot: Latest[Seen] = Latest()

    def show(self, seen: Seen) -> None:
        self._slot.put(seen)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            seen = self._slot.take(_STOP_CHECK_S)
            if seen is not None:
                config, start_s = self._config(), time.monotonic()
                avatar = self._avatar() if config.kind == "avatar" else None
                self._publish(overlay(seen.frame, seen.state, self._body, avatar, config.max_side_px), seen)
                stop.wait(max(0.0, start_s + 1 / config.rate_hz - time.monotonic()))

    def _avatar(self) -> Avatar | None:
        snapshot = self._snapshot()
        if snapshot is None:
            self._made = None
        elif self._made is None or (self._made[0] is not snapshot and time.monotonic() > self._made_s + _AVATAR_EVERY_S):
            self._made, self._made_s = (snapshot, self._maker.make(snapshot)), time.monotonic()
        return self._made[1] if self._made else None


def overlay(frame: Frame, state: BodyState | None, body: BodyModel, avatar: Avatar | None, max_side_px: int) -> Image:
    """The avatar over the picture, or without one the body's outline; without a state the picture alone.

    Args:
        state: in the world of the frame's camera.
        max_side_px: of the longer side of what comes out.
    """
    frame = shrunk(frame, max_side_px)
    if state is None:
        return frame.rgb
    if avatar is None:
        return outlined(frame.rgb, silhouette(body, state, frame.camera))
    return composite(draw(avatar, state, frame.camera, _COLOR), frame.rgb)


def silhouette(body: BodyModel, state: BodyState, camera: Camera) -> UInt8[np.ndarray, "h w"]:
    """1 where the body is."""
    return (draw_mesh(posed_vertices(body, state), body.faces, camera).face >= 0).astype(np.uint8)


def outlined(rgb: Image, mask: UInt8[np.ndarray, "h w"]) -> Image:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(rgb.copy(), contours, -1, _OUTLINE_RGB, _OUTLINE_PX), np.uint8)
