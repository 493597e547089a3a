"""`ros2 run fmgs_ros capture_node`: a camera, video, folder of pictures or bag as image_raw, compressed and camera_info."""

import threading
from contextlib import ExitStack
from functools import partial
from typing import Any

from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fmgs_core.stream.source import SourceError
from fmgs_ros.camera_yaml import fill_info, read_camera_yaml
from fmgs_ros.convert import fill_header, fill_image, fill_jpeg
from fmgs_ros.diagnostics import Health, RateMeter, publish_diagnostics
from fmgs_ros.lifecycle import ManagedNode
from fmgs_ros.lifecycle import main as run_node
from fmgs_ros.params import declare, read
from fmgs_ros.player import CaptureConfig, Played, Player
from fmgs_ros.qos import qos_profile

# How soon a recording starts after its first subscriber [s], and how often it is looked for.
_SUBSCRIBER_CHECK_S = 0.1


class CaptureNode(ManagedNode):
    """Publishes what a `Player` plays. The source is open while the node is active."""

    def __init__(self, **options: Any):
        super().__init__("capture_node", **options)
        declare(self, CaptureConfig)
        self._doing = "not started"
        self._player: Player | None = None

    def configure(self, stack: ExitStack) -> None:
        self._config = config = read(self, CaptureConfig())
        self._calibration = None if config.calibration is None else read_camera_yaml(config.calibration)
        self._published = RateMeter()
        qos = qos_profile(config.output_qos)
        self._image = self.publisher(stack, Image, "~/image_raw", qos)
        self._compressed = self.publisher(stack, CompressedImage, "~/image_raw/compressed", qos)
        self._info = self.publisher(stack, CameraInfo, "~/camera_info", qos)
        publish_diagnostics(self, stack, config.source, self._health, config.diagnostics)

    def activate(self, stack: ExitStack) -> None:
        self.fault = None
        player = Player(self._config, lambda: self.get_clock().now().nanoseconds, on_warning=self.get_logger().warning)
        self._player = stack.enter_context(player)
        stack.callback(self._forget_player)
        self.run_thread(stack, "capture", partial(self._play, player))

    def _forget_player(self) -> None:
        self._player = None

    def _play(self, player: Player, stop: threading.Event) -> None:
        if self._config.start_when_subscribed and not player.source.live:
            self._doing = "waiting for a subscriber"
            while not self._is_wanted() and not stop.wait(_SUBSCRIBER_CHECK_S):
                pass
        self._doing = f"playing {player.source.name}"
        try:
            for played in player.play(stop):
                self._publish(played, player.source.camera_is_estimated)
        except (ValueError, SourceError) as error:
            self.report_fault("the source broke", error)
            return
        if not stop.is_set():
            self._doing = f"played {self._published.count} pictures of {player.source.name} to the end"
            self.get_logger().info(self._doing)

    def _is_wanted(self) -> bool:
        return any(p.get_subscription_count() for p in (self._image, self._compressed))

    def _publish(self, played: Played, camera_is_estimated: bool) -> None:
        """Pictures are encoded only for those who listen; camera_info is always there."""
        rgb = played.frame.rgb
        if self._compressed.get_subscription_count():
            fill_jpeg(message := self._headed(CompressedImage(), played), rgb, self._config.jpeg_quality)
            self._compressed.publish(message)
        if self._image.get_subscription_count():
            fill_image(message := self._headed(Image(), played), rgb, "rgb8")
            self._image.publish(message)
        info = self._headed(CameraInfo(), played)
        fill_info(info, played.frame.camera, self._calibration, is_estimated=camera_is_estimated)
        self._info.publish(info)
        self._published.tick()

    def _headed(self, message: Any, played: Played) -> Any:
        fill_header(message.header, played.stamp_ns, self._config.frame_id)
        return message

    def _health(self) -> Health:
        waits = self._player is None or self._player.laps > 0 or not self._published.count
        return Health(
            active=self._player is not None,
            doing=self._doing,
            fault=self.fault,
            idle=self._doing if waits else None,
            age_s=self._published.age_s,
            rate_hz=self._published.rate_hz,
            values={"pictures": self._published.count},
        )


def main(arguments: list[str] | None = None) -> int:
    return run_node(CaptureNode, arguments)
