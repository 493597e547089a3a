"""The URDF of a person as robot_state_publisher (KDL) reads it, which it needs. Kind: parity with the posed body."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState
from tf2_msgs.msg import TFMessage

from fmgs_core.body.default import default_body
from fmgs_core.types import BodyState
from fmgs_ros.human_urdf import human_urdf
from fmgs_ros.joint_angles import SIDES, arm, joint_angles, leg
from fmgs_ros.transforms import R_ROS_BODY, posed_skeleton

from .harness import END_S, START_S, WAIT_S, participant, until

BODY = default_body()


def bent() -> BodyState:
    """All joints turned, elbows and knees by more than the ten degrees below which they count as straight."""
    rng = np.random.default_rng(3)
    pose = rng.normal(scale=0.25, size=(55, 3))
    for name, turn in (("left_elbow", -1.1), ("right_elbow", 0.9)):
        pose[BODY.joint_names.index(name)] = (0, turn, 0)
    for name, turn in (("left_knee", 0.7), ("right_knee", 1.3)):
        pose[BODY.joint_names.index(name)] = (turn, 0, 0)
    return BodyState(rng.normal(size=16), pose, np.zeros(3), np.zeros(52))


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[None]:
    try:
        prefix = get_package_prefix("robot_state_publisher")
    except PackageNotFoundError:
        pytest.skip("needs robot_state_publisher")
    (params := tmp_path / "robot.yaml").write_text(
        yaml.safe_dump({"/**": {"ros__parameters": {"robot_description": human_urdf(BODY, bent(), "x")}}})
    )
    program = Path(prefix, "lib", "robot_state_publisher", "robot_state_publisher")
    process = subprocess.Popen([program, "--ros-args", "--params-file", params])
    yield
    process.terminate()
    process.wait(END_S)


def test_limbs_point_as_the_bodys(publisher: None):
    angles = joint_angles(BODY, bent())
    joints = JointState(name=[f"{name}_x" for name in angles], position=list(angles.values()))
    with participant("urdf_test") as graph:
        moving, fixed = graph.listen(TFMessage, "/tf"), graph.listen(TFMessage, "/tf_static", latched=True)
        talker = graph.talk(JointState, "/joint_states")
        until(talker.get_subscription_count, START_S, lambda: "robot_state_publisher")
        joints.header.stamp = graph.node.get_clock().now().to_msg()
        talker.publish(joints)
        transforms = [t for inbox in (moving, fixed) for t in inbox.wait(1, WAIT_S)[-1].transforms]
    poses = chained(transforms)
    skeleton = posed_skeleton(BODY, bent())
    at = dict(zip(BODY.joint_names, skeleton.positions @ skeleton.rotations[0] @ R_ROS_BODY.T, strict=True))
    for side in SIDES:
        for limb, (root, middle, end) in (
            (arm(side), ("shoulder", "elbow", "wrist")),
            (leg(side), ("hip", "knee", "ankle")),
        ):
            for (start, stop), (a, b) in (
                ((limb.root, limb.middle), (root, middle)),
                ((limb.middle, limb.end), (middle, end)),
            ):
                way = poses[f"{side}_{b}_x"] - poses[f"{side}_{a}_x"]
                # Six digits in the URDF: 1e-5 m of some decimetres.
                np.testing.assert_allclose(way, at[stop] - at[start], atol=1e-4)


def chained(transforms: list) -> dict[str, np.ndarray]:
    """Position of each link in the root link."""
    found = {"body_x": np.eye(4)}
    for _ in transforms:  # at most so deep
        for t in transforms:
            if t.header.frame_id in found:
                q, p = t.transform.rotation, t.transform.translation
                T = np.eye(4)
                T[:3, :3], T[:3, 3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), (p.x, p.y, p.z)
                found[t.child_frame_id] = found[t.header.frame_id] @ T
    return {name: T[:3, 3] for name, T in found.items()}
