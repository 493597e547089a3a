"""QoS by name. Kind: parity with rmw's profiles (needs rclpy), behaviour on bad input."""

import pytest

from fmgs_ros.qos import QOS, check_qos, latched, qos_profile

STANDARD = ("SYSTEM_DEFAULT", "SENSOR_DATA", "SERVICES_DEFAULT", "PARAMETERS", "PARAMETER_EVENTS")


def test_the_names_of_isaac_ros_are_there():
    assert {*STANDARD, "DEFAULT"} <= set(QOS)


def test_a_name_that_is_none_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"input_qos: expected one of SYSTEM_DEFAULT, .* got 'sensor_data'"):
        check_qos("input_qos", "sensor_data")


def test_what_late_subscribers_must_get_is_transient_local():
    assert [name for name, qos in QOS.items() if qos.durability == "transient_local"] == ["LATCHED"]


@pytest.mark.parametrize("name", STANDARD)
def test_profiles_are_those_of_rmw(name: str):
    qos = pytest.importorskip("rclpy.qos", reason="needs ROS (rclpy)")
    expected, got = qos.QoSPresetProfiles[name].value, qos_profile(name)
    assert (got.reliability, got.durability) == (expected.reliability, expected.durability)
    assert (got.history, got.depth) == (expected.history, expected.depth)


def test_latched_of_rclpy():
    qos = pytest.importorskip("rclpy.qos", reason="needs ROS (rclpy)")
    assert latched().durability == qos.DurabilityPolicy.TRANSIENT_LOCAL
