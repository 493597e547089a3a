"""REP-155's topics on a real graph, from a known pose. Kind: behaviour. Needs hri_msgs."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

pytest.importorskip("hri_msgs", reason="needs hri_msgs")

from hri_msgs.msg import IdsList, NormalizedRegionOfInterest2D, Skeleton2D

from fmgs_core.body.default import default_body
from fmgs_core.tracking.tracker import TrackingStatus
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState, Camera, Frame
from fmgs_ros.bodies import fill_body_state, state_in_optical
from fmgs_ros.convert import fill_header, values_of
from fmgs_ros.humans import Humans
from fmgs_ros.joint_angles import joint_angles
from fmgs_ros.lifecycle import ManagedNode
from fmgs_ros.msg import BodyState as BodyMessage

from .harness import WAIT_S, Participant, participant, until

BODY = default_body()
CAMERA = Camera(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), 640, 480, T_CAMERA_WORLD_UNPOSED)
TOPICS = {
    "roi": NormalizedRegionOfInterest2D, "cropped": Image, "skeleton2d": Skeleton2D, "joint_states": JointState,
    "avatar/body_state": BodyMessage,
}  # fmt: skip


class Publisher(ManagedNode):
    """A node with nothing but these topics."""

    def configure(self, stack: ExitStack) -> None:
        self.humans = Humans(self, stack, BODY, "ada")


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    rclpy.init(context=(context := Context()))
    node = Publisher("humans_test", context=context)
    node.start()
    assert node.fault is None
    yield node
    node.finish()
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.fixture
def graph() -> Iterator[Participant]:
    with participant("humans_listener") as made:
        yield made


def raised_arm() -> BodyState:
    pose = np.zeros((55, 3))
    pose[BODY.joint_names.index("left_elbow")] = (0, -1.0, 0)
    return state_in_optical(BODY, BodyState(np.zeros(16), pose, np.array([0, 0.2, -3.0]), np.zeros(52)))


def body_message(state: BodyState) -> Any:
    message = BodyMessage(body_id="ada")
    fill_header(message.header, 5_000_000_007, "lens")
    fill_body_state(message, state, TrackingStatus.TRACKING, 0.9)
    return message


def test_one_picture_gives_every_topic_with_its_stamp(publisher: Publisher, graph: Participant):
    inboxes = {name: graph.listen(kind, f"/humans/bodies/ada/{name}") for name, kind in TOPICS.items()}
    urdf = graph.listen(String, "/humans/bodies/ada/urdf", latched=True)
    rgb = np.arange(640 * 480 * 3, dtype=np.uint32).astype(np.uint8).reshape(480, 640, 3)
    mask = np.zeros((480, 640), np.float32)
    mask[100:400, 200:300] = 1
    state = raised_arm()
    for inbox in inboxes.values():
        until(partial(publisher.count_subscribers, inbox.topic), WAIT_S, lambda: "a subscriber")
    publisher.humans.tracked(Frame(5_000_000_007, rgb, CAMERA), mask, state, 0.9, body_message(state))
    got = {name: inbox.wait()[0] for name, inbox in inboxes.items()}
    assert {(m.header.stamp.sec, m.header.stamp.nanosec) for m in got.values()} == {(5, 7)}
    assert {got[name].header.frame_id for name in ("roi", "cropped", "skeleton2d")} == {"lens"}
    np.testing.assert_array_equal(values_of(got["cropped"]), rgb[100:400, 200:300])
    assert (got["roi"].xmin, got["roi"].xmax) == (np.float32(200 / 640), np.float32(300 / 640))
    assert len(got["skeleton2d"].skeleton) == 18 and got["skeleton2d"].skeleton[0].c == np.float32(0.9)
    expected = {f"{name}_ada": angle for name, angle in joint_angles(BODY, state).items()}
    assert dict(zip(got["joint_states"].name, got["joint_states"].position, strict=True)) == expected
    assert expected["l_elbow_ada"] == pytest.approx(1.0, abs=0.05)
    assert Xml.fromstring(urdf.wait()[0].data).get("name") == "human_ada"


def test_the_list_of_bodies_is_there_for_those_who_come_late(publisher: Publisher, graph: Participant):
    state = raised_arm()
    frame = Frame(5_000_000_007, np.zeros((480, 640, 3), np.uint8), CAMERA)
    publisher.humans.tracked(frame, None, state, 0.9, body_message(state))
    tracked = graph.listen(IdsList, "/humans/bodies/tracked", latched=True)
    assert list(tracked.wait()[0].ids) == ["ada"]
    publisher.humans.nobody(body_message(state).header)
    assert list(tracked.wait(2)[1].ids) == []
