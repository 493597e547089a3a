"""The REP-155 kinematic model of one person as URDF: human_description's links and joints, with this body's own lengths."""

from xml.etree import ElementTree as Xml

import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.types import BodyState
from fmgs_ros.bodies import rest_joints
from fmgs_ros.joint_angles import LIMITS, SIDES, Limb, arm, leg
from fmgs_ros.transforms import R_ROS_BODY

_RADIUS_M = 0.04
_SKIN = "0.9 0.72 0.6 1"
_ORIGIN = np.zeros(3)


def human_urdf(body: BodyModel, state: BodyState, body_id: str) -> str:
    """URDF text. At zero angles the person stands with hanging arms; the root link is the frame `body_<id>`.

    Args:
        state: only its shape matters.
    """
    bones = _Bones(body, state)
    robot = Xml.Element("robot", name=f"human_{body_id}")
    material = Xml.SubElement(robot, "material", name="skin")
    Xml.SubElement(material, "color", rgba=_SKIN)
    writer = _Writer(robot, body_id)
    _trunk(writer, bones)
    for side, sign in SIDES.items():
        _arm(writer, bones, side, sign)
        _leg(writer, bones, side, sign)
    Xml.indent(robot)
    return Xml.tostring(robot, encoding="unicode", xml_declaration=True)


class _Bones:
    """Rest joints in ROS axes, from the mid-hips [m]."""

    def __init__(self, body: BodyModel, state: BodyState):
        joints = rest_joints(body, state.betas, state.expression)
        self._names, self._joints = body.joint_names, (joints - joints[1:3].mean(0)) @ R_ROS_BODY.T

    def at(self, name: str) -> Float[np.ndarray, "3"]:
        return self._joints[self._names.index(name)]

    def length(self, start: str, end: str) -> float:
        return float(np.linalg.norm(self.at(end) - self.at(start)))

    @property
    def mid_shoulders(self) -> Float[np.ndarray, "3"]:
        return (self.at("left_shoulder") + self.at("right_shoulder")) / 2


class _Writer:
    def __init__(self, robot: Xml.Element, body_id: str):
        self._robot, self._id = robot, body_id

    def link(self, name: str, along: Float[np.ndarray, "3"] | None = None, head_radius_m: float = 0.0) -> None:
        """A link, drawn as a cylinder down its -z axis, a ball for the head, or not at all."""
        link = Xml.SubElement(self._robot, "link", name=f"{name}_{self._id}")
        if along is not None:
            length = float(np.linalg.norm(along))
            self._visual(link, along / 2, "cylinder", radius=_RADIUS_M, length=length)
        if head_radius_m:
            self._visual(link, _ORIGIN, "sphere", radius=head_radius_m)

    def _visual(self, link: Xml.Element, center: np.ndarray, shape: str, **sizes: float) -> None:
        visual = Xml.SubElement(link, "visual")
        Xml.SubElement(visual, "origin", xyz=_text(center), rpy="0 0 0")
        Xml.SubElement(Xml.SubElement(visual, "geometry"), shape, {k: f"{v:.4f}" for k, v in sizes.items()})
        Xml.SubElement(visual, "material", name="skin")

    def joint(self, name: str, parent: str, child: str, origin: np.ndarray, axis: tuple[float, float, float] | None) -> None:
        """A hinge about an axis of the parent, or a fixed joint."""
        kind = "fixed" if axis is None else "revolute"
        joint = Xml.SubElement(self._robot, "joint", name=f"{name}_{self._id}", type=kind)
        Xml.SubElement(joint, "parent", link=f"{parent}_{self._id}")
        Xml.SubElement(joint, "child", link=f"{child}_{self._id}")
        Xml.SubElement(joint, "origin", xyz=_text(origin), rpy="0 0 0")
        if axis is not None:
            low, high = LIMITS[name]
            Xml.SubElement(joint, "axis", xyz=_text(np.array(axis)))
            Xml.SubElement(joint, "limit", lower=f"{low:g}", upper=f"{high:g}", effort="1000", velocity="10")


def _trunk(writer: _Writer, bones: _Bones) -> None:
    up = bones.mid_shoulders
    neck = bones.at("head") - up
    radius = 0.11
    for name in ("body", "waist", "r_head", "y_head", "p_head"):
        writer.link(name)
    writer.link("torso", along=np.array([0.0, 0.0, -float(np.linalg.norm(up))]))
    writer.link("head", head_radius_m=radius)
    writer.joint("waist", "body", "waist", _ORIGIN, (0, 1, 0))
    writer.joint("torso", "waist", "torso", up, None)
    writer.joint("r_head", "torso", "r_head", neck, (1, 0, 0))
    writer.joint("y_head", "r_head", "y_head", _ORIGIN, (0, 0, 1))
    writer.joint("p_head", "y_head", "p_head", _ORIGIN, (0, -1, 0))
    writer.joint("head", "p_head", "head", np.array([radius / 3, 0.0, radius]), None)


def _arm(writer: _Writer, bones: _Bones, side: str, sign: float) -> None:
    axes = {"y": (0, 0, -sign), "p": (sign, 0, 0), "r": (0, 0, sign)}
    origin = bones.at(arm(side).root) - bones.mid_shoulders
    _limb(writer, bones, arm(side), side, "torso", ("shoulder", "elbow", "wrist"), axes, origin)


def _leg(writer: _Writer, bones: _Bones, side: str, sign: float) -> None:
    axes = {"y": (0, 0, -1), "p": (sign, 0, 0), "r": (0, -1, 0)}
    _limb(writer, bones, leg(side), side, "body", ("hip", "knee", "ankle"), axes, bones.at(leg(side).root))


def _limb(
    writer: _Writer,
    bones: _Bones,
    limb: Limb,
    side: str,
    parent: str,
    names: tuple[str, str, str],
    axes: dict[str, tuple[float, float, float]],
    origin: np.ndarray,
) -> None:
    root, middle, end = (f"{side}_{name}" for name in names)
    upper = np.array([0.0, 0.0, -bones.length(limb.root, limb.middle)])
    lower = np.array([0.0, 0.0, -bones.length(limb.middle, limb.end)])
    first, second = f"{side}_y_{names[0]}", f"{side}_p_{names[0]}"
    writer.link(first)
    writer.link(second)
    writer.link(root, along=upper)
    writer.link(middle, along=lower)
    writer.link(end)
    writer.joint(first, parent, first, origin, axes["y"])
    writer.joint(second, first, second, _ORIGIN, axes["p"])
    writer.joint(f"{side}_r_{names[0]}", second, root, _ORIGIN, axes["r"])
    writer.joint(middle, root, middle, upper, (0, -1, 0))
    writer.joint(end, middle, end, lower, None)


def _text(values: np.ndarray) -> str:
    return " ".join(f"{v + 0.0:.6g}" for v in values)
