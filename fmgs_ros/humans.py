"""The topics of REP-155 (humans in ROS, draft) for the one body that is tracked.

Raises:
    ImportError: hri_msgs is not installed. So this module is imported only when the topics are asked for.
"""

from contextlib import ExitStack
from typing import Any

import numpy as np
from jaxtyping import Float
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState, Frame
from fmgs_ros.convert import fill_image
from fmgs_ros.human_urdf import human_urdf
from fmgs_ros.joint_angles import joint_angles
from fmgs_ros.msg import BodyState as BodyStateMessage
from fmgs_ros.names import HUMANS, avatar_topic, check_body_id
from fmgs_ros.qos import latched, qos_profile
from fmgs_ros.skeleton2d import Region, region, skeleton_points

try:
    from hri_msgs.msg import IdsList, NormalizedPointOfInterest2D, NormalizedRegionOfInterest2D, Skeleton2D
except ImportError as error:
    raise ImportError("humans needs hri_msgs: apt install ros-$ROS_DISTRO-hri-msgs") from error

# The URDF is sent again when a coefficient of the shape has changed by this much [standard deviations]: some millimetres.
_SHAPE_CHANGE = 0.1


class Humans:
    """Publishers of one body; `tracked` and `nobody` are called once a picture, from one thread.

    Args:
        node: a ManagedNode that is being configured.
        stack: ends the publishers.

    Raises:
        ValueError: an id that cannot be part of a topic's name.
    """

    def __init__(self, node: Any, stack: ExitStack, body: BodyModel, body_id: str):
        check_body_id(body_id)
        self._body, self._id, self._shape = body, body_id, None
        newest, base = qos_profile("NEWEST"), f"{HUMANS}/{body_id}"
        self._tracked = node.publisher(stack, IdsList, f"{HUMANS}/tracked", latched())
        self._roi = node.publisher(stack, NormalizedRegionOfInterest2D, f"{base}/roi", newest)
        self._cropped = node.publisher(stack, Image, f"{base}/cropped", newest)
        self._skeleton = node.publisher(stack, Skeleton2D, f"{base}/skeleton2d", newest)
        self._joints = node.publisher(stack, JointState, f"{base}/joint_states", newest)
        self._urdf = node.publisher(stack, String, f"{base}/urdf", latched())
        self._state = node.publisher(stack, BodyStateMessage, avatar_topic(body_id, "body_state"), newest)

    def tracked(
        self,
        frame: Frame,
        mask: Float[np.ndarray, "h w"] | None,
        state: BodyState,
        confidence: float,
        message: Any,
    ) -> None:
        """Everything of one picture.

        Args:
            state: in the optical frame.
            message: the BodyState message of the same picture, whose header all others take over.
        """
        self._list(message.header, [self._id])
        self._send_urdf(state)
        self._send_joints(message.header, state)
        points = skeleton_points(self._body, state, frame.camera, confidence)
        self._send_skeleton(message.header, points)
        where = region(points, mask)
        if where is not None:
            self._send_region(message.header, where, confidence)
            self._send_cropped(message.header, where, frame)
        self._state.publish(message)

    def nobody(self, header: Any) -> None:
        """The list of bodies is empty."""
        self._list(header, [])

    def _list(self, header: Any, ids: list[str]) -> None:
        self._tracked.publish(IdsList(header=header, ids=ids))

    def _send_urdf(self, state: BodyState) -> None:
        if self._shape is None or np.abs(state.betas - self._shape).max() > _SHAPE_CHANGE:
            self._shape = state.betas
            self._urdf.publish(String(data=human_urdf(self._body, state, self._id)))

    def _send_joints(self, header: Any, state: BodyState) -> None:
        angles = joint_angles(self._body, state)
        names = [f"{name}_{self._id}" for name in angles]
        # The transforms of a model are its own: only the stamp is taken over, as joint_state_publisher does.
        message = JointState(name=names, position=list(angles.values()))
        message.header.stamp = header.stamp
        self._joints.publish(message)

    def _send_skeleton(self, header: Any, points: Float[np.ndarray, "18 3"]) -> None:
        skeleton = [NormalizedPointOfInterest2D(x=x, y=y, c=c) for x, y, c in points.tolist()]
        self._skeleton.publish(Skeleton2D(header=header, skeleton=skeleton))

    def _send_region(self, header: Any, where: Region, confidence: float) -> None:
        self._roi.publish(NormalizedRegionOfInterest2D(header=header, c=float(confidence), **vars(where)))

    def _send_cropped(self, header: Any, where: Region, frame: Frame) -> None:
        if not self._cropped.get_subscription_count():
            return
        message = Image(header=header)
        fill_image(message, where.cropped(frame.rgb), "rgb8")
        self._cropped.publish(message)
