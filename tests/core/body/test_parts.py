"""Behaviour of part labels: the class list, both tables, sides, and parts found from skinning weights."""

from dataclasses import replace

import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.body.parts import (
    PART_NAMES,
    SAPIENS28_COLORS,
    SAPIENS28_NAMES,
    clothed_labels,
    face_parts,
    sapiens_labels,
)


def _class_names(labels: np.ndarray, part: str) -> set[str]:
    body = default_body()
    return {SAPIENS28_NAMES[i] for i in np.unique(labels[body.face_part == body.part_names.index(part)])}


def test_class_list_is_sapiens_own():
    assert len(SAPIENS28_NAMES) == 28 and SAPIENS28_COLORS.shape == (28, 3) and SAPIENS28_COLORS.dtype == np.uint8
    ids = {
        2: "Face_Neck",
        3: "Hair",
        5: "Left_Hand",
        8: "Left_Shoe",
        12: "Lower_Clothing",
        17: "Right_Shoe",
        22: "Upper_Clothing",
    }
    assert {i: SAPIENS28_NAMES[i] for i in ids} == ids
    assert len(np.unique(SAPIENS28_COLORS, axis=0)) == 28
    assert SAPIENS28_COLORS[12].tolist() == [72, 0, 255] and SAPIENS28_COLORS[27].tolist() == [82, 21, 114]


def test_class_list_agrees_with_the_sequences(shared):
    text = (shared / "data.md").read_text()
    assert all(f"{i} {name}" in text for i, name in enumerate(SAPIENS28_NAMES))


@pytest.mark.parametrize(
    ("part", "bare", "clothed"),
    [
        ("torso", "Torso", "Upper_Clothing"),
        ("hips", "Torso", "Lower_Clothing"),
        ("l_foot", "Left_Foot", "Left_Shoe"),
        ("r_shin", "Right_Lower_Leg", "Lower_Clothing"),
        ("l_upperarm", "Left_Upper_Arm", "Upper_Clothing"),
        ("r_forearm", "Right_Lower_Arm", "Right_Lower_Arm"),
        ("l_hand", "Left_Hand", "Left_Hand"),
        ("neck", "Face_Neck", "Face_Neck"),
        ("hair", "Hair", "Hair"),
    ],
)
def test_tables(part: str, bare: str, clothed: str):
    assert _class_names(sapiens_labels(default_body()), part) == {bare}
    assert _class_names(clothed_labels(default_body()), part) == {clothed}


@pytest.mark.parametrize("labels", [sapiens_labels, clothed_labels])
def test_left_is_the_persons_left_and_nothing_is_background(labels):
    body = default_body()
    classes = labels(body)
    assert classes.shape == (body.num_faces,) and classes.dtype == np.uint8 and (classes > 0).all()
    x = body.v_template[body.faces].mean(1)[:, 0]
    for i, name in enumerate(SAPIENS28_NAMES):
        side = 1 if name.startswith("Left") else -1 if name.startswith("Right") else 0
        assert (x[classes == i] * side >= 0).all(), name


def test_parts_from_weights_agree_with_the_baked_ones():
    body = default_body()
    joints = body.J_regressor @ body.v_template
    found = face_parts(body.v_template, body.faces, body.skin_weights, joints, body.joint_names)
    names = np.array(body.part_names)[body.face_part]
    outside = ~np.isin(names, ["mouth_interior", "eye_sockets"])  # weights do not tell the inside of the head from its outside
    # the weights were cut to four per vertex after the parts were baked
    assert (np.array(PART_NAMES)[found][outside] == names[outside]).mean() > 0.998


def test_unknown_part_names_are_refused():
    body = default_body()
    with pytest.raises(ValueError, match=r"expected names out of .*tail"):
        sapiens_labels(replace(body, part_names=(*body.part_names[:-1], "tail")))
