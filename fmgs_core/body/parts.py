"""Parts of the body and their classes in Sapiens' 28-class list."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int, UInt8

from fmgs_core.body.template import BodyModel

# Name and drawing colour by class id, Sapiens (Khirodkar et al., 2024). Left and right are the person's.
SAPIENS28 = (
    ("Background", (50, 50, 50)),
    ("Apparel", (255, 218, 0)),
    ("Face_Neck", (128, 200, 255)),
    ("Hair", (255, 0, 109)),
    ("Left_Foot", (189, 0, 204)),
    ("Left_Hand", (255, 0, 218)),
    ("Left_Lower_Arm", (0, 160, 204)),
    ("Left_Lower_Leg", (0, 255, 145)),
    ("Left_Shoe", (204, 0, 131)),
    ("Left_Sock", (182, 0, 255)),
    ("Left_Upper_Arm", (255, 109, 0)),
    ("Left_Upper_Leg", (0, 255, 255)),
    ("Lower_Clothing", (72, 0, 255)),
    ("Right_Foot", (204, 131, 0)),
    ("Right_Hand", (255, 0, 0)),
    ("Right_Lower_Arm", (72, 255, 0)),
    ("Right_Lower_Leg", (189, 204, 0)),
    ("Right_Shoe", (182, 255, 0)),
    ("Right_Sock", (102, 0, 204)),
    ("Right_Upper_Arm", (32, 72, 204)),
    ("Right_Upper_Leg", (0, 145, 255)),
    ("Torso", (14, 204, 0)),
    ("Upper_Clothing", (0, 128, 72)),
    ("Lower_Lip", (235, 205, 119)),
    ("Upper_Lip", (115, 227, 112)),
    ("Lower_Teeth", (157, 113, 143)),
    ("Upper_Teeth", (132, 93, 50)),
    ("Tongue", (82, 21, 114)),
)
SAPIENS28_NAMES = tuple(name for name, _ in SAPIENS28)
SAPIENS28_COLORS = np.array([color for _, color in SAPIENS28], dtype=np.uint8)

_BARE_CLASS = {
    "background": "Background",
    "face": "Face_Neck",
    "hair": "Hair",
    "neck": "Face_Neck",
    "torso": "Torso",
    "hips": "Torso",
    "l_upperarm": "Left_Upper_Arm",
    "r_upperarm": "Right_Upper_Arm",
    "l_forearm": "Left_Lower_Arm",
    "r_forearm": "Right_Lower_Arm",
    "l_hand": "Left_Hand",
    "r_hand": "Right_Hand",
    "l_thigh": "Left_Upper_Leg",
    "r_thigh": "Right_Upper_Leg",
    "l_shin": "Left_Lower_Leg",
    "r_shin": "Right_Lower_Leg",
    "l_foot": "Left_Foot",
    "r_foot": "Right_Foot",
    "eyes": "Face_Neck",
    "mouth_interior": "Face_Neck",
    "eye_sockets": "Face_Neck",
}
# The template is bare, people on cameras are not. A top with at least short sleeves, long trousers and shoes is what is right
# most often; forearms stay skin, because a short sleeve is as common as a long one and a wrong sleeve would colour the wrist.
_CLOTHED_CLASS = _BARE_CLASS | {
    "torso": "Upper_Clothing",
    "hips": "Lower_Clothing",
    "l_upperarm": "Upper_Clothing",
    "r_upperarm": "Upper_Clothing",
    "l_thigh": "Lower_Clothing",
    "r_thigh": "Lower_Clothing",
    "l_shin": "Lower_Clothing",
    "r_shin": "Lower_Clothing",
    "l_foot": "Left_Shoe",
    "r_foot": "Right_Shoe",
}
PART_NAMES = tuple(_BARE_CLASS)


def sapiens_labels(body: BodyModel) -> UInt8[np.ndarray, " F"]:
    """Anatomical Sapiens-28 class of each face: what an undressed body shows."""
    return _labels(body, _BARE_CLASS)


def clothed_labels(body: BodyModel) -> UInt8[np.ndarray, " F"]:
    """Sapiens-28 class that each face most often shows on a dressed person; a weak prior where no segmentation is at hand."""
    return _labels(body, _CLOTHED_CLASS)


def face_parts(
    v_template: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    skin_weights: Float[np.ndarray, "V J"],
    joints: Float[np.ndarray, "J 3"],
    joint_names: tuple[str, ...],
) -> UInt8[np.ndarray, " F"]:
    """Index into PART_NAMES for each face of a body that comes without parts: the joint group with most skinning weight.

    Hair has no joint: it is the top 5.5 cm of the head and what lies behind the head joint's ear line, above that joint.
    """
    group = np.array([PART_NAMES.index(_part_of_joint(name)) for name in joint_names])
    membership = np.eye(len(PART_NAMES), dtype=np.float32)[group]
    by_vertex = skin_weights @ membership
    part = by_vertex[faces].sum(1).argmax(1).astype(np.uint8)
    head = joints[joint_names.index("head")]
    on_head = by_vertex.argmax(1) == PART_NAMES.index("face")
    y, z = v_template[:, 1], v_template[:, 2]
    scalp = on_head & ((y > y.max() - 0.055) | ((z < head[2] + 0.035) & (y > head[1])))
    part[scalp[faces].all(1)] = PART_NAMES.index("hair")
    return part


def _labels(body: BodyModel, class_of_part: Mapping[str, str]) -> UInt8[np.ndarray, " F"]:
    unknown = set(body.part_names) - set(class_of_part)
    if unknown:
        raise ValueError(f"BodyModel.part_names: expected names out of {PART_NAMES}, got also {sorted(unknown)}")
    table = [SAPIENS28_NAMES.index(class_of_part[name]) for name in body.part_names]
    return np.array(table, dtype=np.uint8)[body.face_part]


def _part_of_joint(name: str) -> str:
    side = name[0] + "_"
    limbs = {"shoulder": "upperarm", "elbow": "forearm", "hip": "thigh", "knee": "shin", "ankle": "foot", "foot": "foot"}
    trunk = {"pelvis": "hips", "neck": "neck", "head": "face", "jaw": "face"}
    if name in trunk:
        return trunk[name]
    if name.startswith("spine") or name.endswith("collar"):
        return "torso"
    if "eye" in name:
        return "eyes"
    return side + limbs.get(name.split("_", 1)[1], "hand")
