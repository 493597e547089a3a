"""Quality of service by name: the strings that Isaac ROS takes as `input_qos` and `output_qos`, and two of ours."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Qos:
    """What is set of a profile; the rest is the middleware's default."""

    reliability: Literal["system_default", "reliable", "best_effort"]
    durability: Literal["system_default", "volatile", "transient_local"]
    depth: int
    """Newest messages kept; 0 leaves history and depth to the middleware."""


QOS = {
    "SYSTEM_DEFAULT": Qos("system_default", "system_default", 0),
    "DEFAULT": Qos("reliable", "volatile", 10),
    "SENSOR_DATA": Qos("best_effort", "volatile", 5),
    "SERVICES_DEFAULT": Qos("reliable", "volatile", 10),
    "PARAMETERS": Qos("reliable", "volatile", 1000),
    "PARAMETER_EVENTS": Qos("reliable", "volatile", 1000),
    "NEWEST": Qos("reliable", "volatile", 1),
    "LATCHED": Qos("reliable", "transient_local", 1),
}
"""The first six as in rmw/qos_profiles.h. NEWEST is for rendered pictures, LATCHED for what a late subscriber must get."""


def qos_profile(name: str) -> Any:
    """The rclpy QoSProfile of a name in QOS.

    Raises:
        ValueError: no such name.
    """
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    check_qos("qos", name)
    qos = QOS[name]
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST if qos.depth else HistoryPolicy.SYSTEM_DEFAULT,
        depth=qos.depth,
        reliability=ReliabilityPolicy[qos.reliability.upper()],
        durability=DurabilityPolicy[qos.durability.upper()],
    )


def latched() -> Any:
    """Kept for those who subscribe later: label_info, snapshot announcement, URDF."""
    return qos_profile("LATCHED")


def check_qos(field: str, name: str) -> None:
    """Raises ValueError, naming the field, unless the name is one of QOS."""
    if name not in QOS:
        raise ValueError(f"{field}: expected one of {', '.join(QOS)}, got {name!r}")
