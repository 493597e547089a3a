"""What avatar_node publishes, but for its diagnostics."""

from contextlib import ExitStack
from typing import Any

from geometry_msgs.msg import TransformStamped
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tf2_ros import TransformBroadcaster
from vision_msgs.msg import LabelInfo, VisionInfo

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.tracker import TrackedBody
from fmgs_core.transport import Announcement
from fmgs_core.types import BodyState, Frame, PriorMaps
from fmgs_core.types import Image as Picture
from fmgs_ros.bodies import fill_body_state, state_in_optical
from fmgs_ros.convert import fill_header, fill_image, fill_jpeg
from fmgs_ros.labels import label_info, vision_info
from fmgs_ros.learner import FitStatus
from fmgs_ros.lifecycle import ManagedNode
from fmgs_ros.msg import AvatarSnapshot, TrainingStatus
from fmgs_ros.msg import BodyState as BodyMessage
from fmgs_ros.qos import latched, qos_profile
from fmgs_ros.transforms import FrameTransform, body_transforms


class AvatarTopics:
    """Publishers of one node. Every method may be called from any thread, each from one at a time.

    Raises:
        ImportError: humans is asked for and hri_msgs is not installed.
    """

    def __init__(self, node: ManagedNode, stack: ExitStack, body: BodyModel, body_id: str, *, humans: bool):
        self._body, self._body_id = body, body_id
        every, newest = qos_profile("DEFAULT"), qos_profile("NEWEST")
        self._states = node.publisher(stack, BodyMessage, "~/body_state", every)
        self._status = node.publisher(stack, TrainingStatus, "~/status", every)
        self._snapshots = node.publisher(stack, AvatarSnapshot, "~/snapshot", latched())
        self._labels = node.publisher(stack, LabelInfo, "~/label_info", latched())
        self._vision_info = node.publisher(stack, VisionInfo, "~/vision_info", latched())
        self._overlay = node.publisher(stack, Image, "~/overlay", newest)
        self._overlay_compressed = node.publisher(stack, CompressedImage, "~/overlay/compressed", newest)
        self._tf = TransformBroadcaster(node)
        stack.callback(node.destroy_publisher, self._tf.pub_tf)
        self._humans = _humans(node, stack, body, body_id) if humans else None

    def publish_tracked(
        self, frame: Frame, maps: PriorMaps, tracked: TrackedBody, frame_id: str, *, with_tf: bool = True
    ) -> None:
        """What was found in one picture: its body_state always, frames and REP-155 topics while somebody is there."""
        state = None if tracked.state is None else state_in_optical(self._body, tracked.state, frame.camera.T_camera_world)
        message = BodyMessage(header=header(frame.stamp_ns, frame_id), body_id=self._body_id, body_model=self._body.name)
        fill_body_state(message, state, tracked.status, tracked.confidence)
        self._states.publish(message)
        if with_tf and state is not None:
            self._publish_tf(message.header, state)
        if self._humans is not None and state is not None:
            self._humans.tracked(frame, maps.mask, state, tracked.confidence, message)
        elif self._humans is not None:
            self._humans.nobody(message.header)

    def publish_status(self, status: FitStatus, frames_per_s: float, snapshot_version: int, frame_id: str) -> None:
        message = TrainingStatus(header=header(status.stamp_ns, frame_id), body_id=self._body_id, state=int(status.state))
        for name in ("iterations", "iterations_per_s", "frames", "frames_dropped", "keyframes", "gaussians", "loss", "message"):
            setattr(message, name, getattr(status, name))
        message.frames_per_s, message.snapshot_version = frames_per_s, snapshot_version
        message.psnr_db = float("nan") if status.psnr_db is None else status.psnr_db
        self._status.publish(message)

    def publish_snapshot(self, announcement: Announcement, stamp_ns: int, frame_id: str) -> None:
        top = header(stamp_ns, frame_id)
        self._snapshots.publish(AvatarSnapshot(header=top, **vars(announcement)))
        self._vision_info.publish(vision_info(top, announcement.version, self._labels.topic_name))

    def publish_labels(self, frame_id: str) -> None:
        self._labels.publish(label_info(header(0, frame_id)))

    @property
    def overlay_is_wanted(self) -> bool:
        return any(p.get_subscription_count() for p in (self._overlay, self._overlay_compressed))

    def publish_overlay(self, picture: Picture, stamp_ns: int, frame_id: str) -> None:
        """To those who listen."""
        top = header(stamp_ns, frame_id)
        if self._overlay.get_subscription_count():
            fill_image(message := Image(header=top), picture, "rgb8")
            self._overlay.publish(message)
        if self._overlay_compressed.get_subscription_count():
            fill_jpeg(message := CompressedImage(header=top), picture)
            self._overlay_compressed.publish(message)

    def _publish_tf(self, top: Header, state: BodyState) -> None:
        """`state` in the optical frame."""
        transforms = body_transforms(self._body, state, top.frame_id, self._body_id)
        self._tf.sendTransform([_stamped(top, t) for t in transforms])


def header(stamp_ns: int, frame_id: str) -> Header:
    fill_header(top := Header(), stamp_ns, frame_id)
    return top


def _stamped(top: Header, frame: FrameTransform) -> TransformStamped:
    message = TransformStamped(child_frame_id=frame.child)
    message.header.stamp, message.header.frame_id = top.stamp, frame.parent
    where, turn = message.transform.translation, message.transform.rotation
    where.x, where.y, where.z = frame.translation.tolist()
    turn.x, turn.y, turn.z, turn.w = frame.quaternion.tolist()
    return message


def _humans(node: ManagedNode, stack: ExitStack, body: BodyModel, body_id: str) -> Any:
    # Imported here: hri_msgs is optional.
    from fmgs_ros.humans import Humans

    return Humans(node, stack, body, body_id)
