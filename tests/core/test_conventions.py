"""What CONVENTIONS.md states in numbers, against the code; and that annotations are checked at all. Kind: property."""

import re
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.geometry import rotation_from_quaternion, triangle_frames
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera

PAGE = (Path(__file__).parents[2] / "CONVENTIONS.md").read_text()


def unposed_camera() -> Camera:
    return Camera(np.array([[100.0, 0, 32], [0, 100, 24], [0, 0, 1]]), 64, 48, T_CAMERA_WORLD_UNPOSED)


def test_the_label_list_is_the_codes():
    assert re.findall(r"(\d+) (\w+)[,.]", PAGE.split("## Labels")[1].split("Clothes")[0]) == [
        (str(i), name) for i, name in enumerate(SAPIENS28_NAMES)
    ]


def test_the_quaternion_to_ros_axes_is_the_matrix_and_the_equations():
    R_ros_body = rotation_from_quaternion(torch.full((4,), 0.5, dtype=torch.float64)).numpy()
    x, y, z = 1.0, 2.0, 3.0
    np.testing.assert_allclose(R_ros_body @ [x, y, z], [z, x, y], atol=1e-12)
    rows = re.findall(r"\| ([01]) ([01]) ([01]) \|", PAGE)
    np.testing.assert_allclose(np.array(rows, dtype=float), R_ros_body, atol=1e-12)


def test_a_person_before_an_unposed_camera_faces_it_upright():
    """Feet below the head in the picture; the person's left, +x, on the right of a picture that they look out of."""
    head, feet, left_hand = np.array([[0, 0.6, -3], [0, -1.0, -3], [0.7, 0.4, -3]], dtype=np.float64)
    head, feet, left_hand = unposed_camera().project(np.stack([head, feet, left_hand]))
    assert head[1] < feet[1]
    assert left_hand[0] > head[0]


def test_scaling_a_picture_scales_its_intrinsics_without_an_offset():
    """A point on the border between two pixels stays on a border: u spans 0 to w at every size."""
    camera, point = unposed_camera(), np.array([[-0.96, 0.72, -3.0]])
    np.testing.assert_allclose(camera.project(point), [[0.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(camera.resized(128, 96).project(point), [[0.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(camera.cropped(10, 4, 20, 20).project(point), [[-10.0, -4.0]], atol=1e-9)


@pytest.mark.skipif(jaxtyping.config.jaxtyping_disable, reason="annotation checks are switched off (JAXTYPING_DISABLE)")
def test_a_wrong_shape_is_caught_by_its_annotation():
    with pytest.raises(jaxtyping.TypeCheckError, match="triangle_frames"):
        triangle_frames(torch.zeros(2, 3, 2))
