"""From picture and camera_info messages to a frame source. Callbacks only hand over; whoever reads decodes. No ROS needed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fmgs_core.stream.pushed import Pending, PushedSource
from fmgs_core.stream.source import SourceConfig
from fmgs_core.types import Frame
from fmgs_ros.convert import FrameReader, stamp_ns
from fmgs_ros.diagnostics import RateMeter
from fmgs_ros.pairing import CameraInfos


class PictureInput:
    """Fills `source` with what the two topics bring.

    Args:
        name: of the picture topic, for messages to people.
        estimate: guesses the focal length of an uncalibrated camera, and says so, instead of refusing its pictures.
        rectified: pictures are undistorted already.
        on_warning: told once each of what is read less well than asked.
    """

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        *,
        estimate: bool = False,
        rectified: bool = False,
        on_warning: Callable[[str], None] = lambda message: None,
    ):
        self._infos, self._said, self._on_warning = CameraInfos(), set(), on_warning
        self._reader = FrameReader(estimate=estimate, focal_px=config.focal_px, rectified=rectified)
        self._focal_px = config.focal_px
        self.source = PushedSource(name, config, camera_is_estimated=lambda: self._reader.estimated, on_warning=self._warn_once)
        self.frame_id = ""
        """Of the newest picture."""
        self.fault: str | None = None
        """Why the newest picture cannot be used; None while they can."""
        self.received = RateMeter()

    def on_info(self, message: Any) -> None:
        self._infos.add(message)

    def on_picture(self, message: Any) -> None:
        self.received.tick()
        self.frame_id = message.header.frame_id
        self.source.push(Pending(stamp_ns(message.header.stamp), partial(self._decoded, message)))

    def _decoded(self, message: Any) -> Frame:
        """In the reader's thread, by when a camera_info that came after its picture has arrived, too."""
        try:
            frame = self._reader.frame(message, self._infos.of(message))
        except ValueError as error:
            self.fault = str(error)
            raise
        self.fault = None
        if self._reader.estimated and self._focal_px is None:
            focal_px = frame.camera.K[0, 0]
            self._warn_once(
                f"{self.source.name}: the camera is not calibrated; its focal length is taken for {focal_px:.0f} px,"
                " and distances are off by the same share as that is"
            )
        return frame

    def _warn_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._on_warning(message)
