"""The pictures that render_node publishes, each drawn only for those who listen."""

from contextlib import ExitStack
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo, VisionInfo

from fmgs_core.rendering.outputs import Output
from fmgs_core.types import Camera
from fmgs_ros.convert import fill_camera_info, fill_header, fill_image, fill_jpeg
from fmgs_ros.labels import colored, label_info, vision_info
from fmgs_ros.lifecycle import ManagedNode
from fmgs_ros.qos import latched, qos_profile

ENCODINGS = {
    Output.IMAGE: "rgb8",
    Output.DEPTH: "32FC1",
    Output.NORMALS: "rgb8",
    Output.MASK: "mono8",
    Output.CONFIDENCE: "32FC1",
}
_TOPICS = {
    Output.IMAGE: "image_raw",
    Output.DEPTH: "depth",
    Output.NORMALS: "normals",
    Output.MASK: "mask",
    Output.CONFIDENCE: "confidence",
}


class RenderTopics:
    """Publishers of one node; all pictures of one drawing carry the same header."""

    def __init__(self, node: ManagedNode, stack: ExitStack, output_qos: str, jpeg_quality: int):
        qos = qos_profile(output_qos)
        self._quality = jpeg_quality
        self._images = {output: node.publisher(stack, Image, f"~/{topic}", qos) for output, topic in _TOPICS.items()}
        self._compressed = node.publisher(stack, CompressedImage, "~/image_raw/compressed", qos)
        self._mask_color = node.publisher(stack, Image, "~/mask_color", qos)
        self._info = node.publisher(stack, CameraInfo, "~/camera_info", qos)
        self._labels = node.publisher(stack, LabelInfo, "~/label_info", latched())
        self._vision_info = node.publisher(stack, VisionInfo, "~/vision_info", latched())

    @property
    def wanted(self) -> frozenset[Output]:
        """What somebody subscribes to."""
        wanted = {output for output, publisher in self._images.items() if publisher.get_subscription_count()}
        wanted |= {Output.IMAGE} if self._compressed.get_subscription_count() else set()
        wanted |= {Output.MASK} if self._mask_color.get_subscription_count() else set()
        return frozenset(wanted)

    def publish_labels(self, header: Header) -> None:
        self._labels.publish(label_info(header))

    def publish_version(self, header: Header, version: int) -> None:
        """Which version of the avatar is drawn from this picture on."""
        self._vision_info.publish(vision_info(header, version, self._labels.topic_name))

    def publish(self, drawn: dict[Output, np.ndarray], camera: Camera, stamp_ns: int, frame_id: str) -> None:
        """What was drawn, to those who listen, and its camera."""
        fill_header(header := Header(), stamp_ns, frame_id)
        for output, values in drawn.items():
            if self._images[output].get_subscription_count():
                self._images[output].publish(image_message(header, values, ENCODINGS[output]))
        if self._compressed.get_subscription_count() and Output.IMAGE in drawn:
            fill_jpeg(message := CompressedImage(header=header), drawn[Output.IMAGE], self._quality)
            self._compressed.publish(message)
        if self._mask_color.get_subscription_count() and Output.MASK in drawn:
            self._mask_color.publish(image_message(header, colored(drawn[Output.MASK]), "rgb8"))
        self._info.publish(info_message(header, camera))


def image_message(header: Header, values: np.ndarray, encoding: str) -> Image:
    fill_image(message := Image(header=header), values, encoding)
    return message


def info_message(header: Header, camera: Camera) -> Any:
    fill_camera_info(message := CameraInfo(header=header), camera)
    return message
