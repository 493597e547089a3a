"""The 18 points of REP-155, the region of a body, its names, and the classes of masks. Kind: parity, behaviour."""

import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.body.parts import SAPIENS28_COLORS, SAPIENS28_NAMES
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, BodyState, Camera
from fmgs_ros.bodies import state_in_optical
from fmgs_ros.labels import CLASSES, UNLABELLED, colored
from fmgs_ros.names import avatar_topic, check_body_id
from fmgs_ros.skeleton2d import Region, region, skeleton_points

BODY = default_body()
CAMERA = Camera(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), 640, 480, T_CAMERA_WORLD_UNPOSED)
FACING = state_in_optical(BODY, BodyState(np.zeros(16), np.zeros((55, 3)), np.array([0, 0.2, -3.0]), np.zeros(52)))
NOSE, NECK, RIGHT_WRIST, LEFT_WRIST, RIGHT_ANKLE, LEFT_EYE, RIGHT_EYE, LEFT_EAR = 0, 1, 4, 7, 10, 14, 15, 16


def test_points_of_a_person_who_faces_the_camera():
    points = skeleton_points(BODY, FACING, CAMERA, 0.8)
    assert points.shape == (18, 3) and (points[:, 2] == 0.8).all()
    # The person's right is on the left of the picture.
    assert points[RIGHT_WRIST, 0] < points[NOSE, 0] < points[LEFT_WRIST, 0]
    assert points[RIGHT_EYE, 0] < points[NOSE, 0] < points[LEFT_EYE, 0] < points[LEFT_EAR, 0]
    assert points[LEFT_EYE, 1] < points[NOSE, 1] < points[NECK, 1] < points[RIGHT_ANKLE, 1]
    assert points[NOSE, 0] == pytest.approx(0.5, abs=0.01)


def test_the_nose_is_where_the_mesh_has_it():
    vertices = posed_vertices(BODY, FACING)
    # Offsets fitted to the detector's idea of a nose: within 2 cm of the vertex, 4 pixels here.
    nose = vertices[9120] @ CAMERA.K.T
    pixels = skeleton_points(BODY, FACING, CAMERA, 1.0)[NOSE, :2] * (640, 480)
    np.testing.assert_allclose(pixels, nose[:2] / nose[2], atol=4)


@pytest.mark.parametrize(("x", "outside", "inside"), [(1.2, LEFT_WRIST, RIGHT_WRIST), (-1.2, RIGHT_WRIST, LEFT_WRIST)])
def test_points_outside_of_the_picture_are_in_range_and_not_believed(x: float, outside: int, inside: int):
    standing = BodyState(np.zeros(16), np.zeros((55, 3)), np.array([x, -0.5, -2.0]), np.zeros(52))
    points = skeleton_points(BODY, state_in_optical(BODY, standing), CAMERA, 1.0)
    assert ((points >= 0) & (points <= 1)).all() and points[outside, 2] == 0 and points[inside, 2] == 1


def test_points_behind_the_camera_are_not_believed():
    behind = BodyState(np.zeros(16), np.zeros((55, 3)), np.array([0, 0, -3.0]), np.zeros(52))
    points = skeleton_points(BODY, behind, CAMERA, 1.0)
    assert np.isfinite(points).all() and not points[:, 2].any() and region(points) is None


def test_region_is_the_masks_where_there_is_one():
    mask = np.zeros((480, 640), np.float32)
    mask[48:240, 64:128] = 0.9
    found = region(skeleton_points(BODY, FACING, CAMERA, 1.0), mask)
    assert found == Region(0.1, 0.1, 0.2, 0.5)
    assert found.cropped(mask).shape == (192, 64) and found.cropped(mask).min() == np.float32(0.9)


def test_region_without_a_mask_holds_all_points():
    points = skeleton_points(BODY, FACING, CAMERA, 1.0)
    found = region(points, np.zeros((480, 640), np.float32))
    assert found is not None
    assert found.xmin < points[:, 0].min() and found.xmax > points[:, 0].max()
    assert 0 <= found.ymin < points[:, 1].min() and 1 >= found.ymax > points[:, 1].max()


def test_a_region_at_the_border_still_has_a_pixel():
    assert Region(1.0, 1.0, 1.0, 1.0).cropped(np.zeros((4, 4))).shape == (1, 1)


@pytest.mark.parametrize("body_id", ["", "1ab", "a-b", "a/b", "é", "_x"])
def test_an_id_that_no_topic_can_carry_is_refused(body_id: str):
    with pytest.raises(ValueError, match="body_id: expected letters"):
        check_body_id(body_id)


def test_topics_of_ours_lie_beside_those_of_the_rep():
    check_body_id("p_1")
    assert avatar_topic("p_1", "snapshot") == "/humans/bodies/p_1/avatar/snapshot"


def test_classes_and_their_colours():
    assert [name for _, name in CLASSES[:-1]] == list(SAPIENS28_NAMES) and CLASSES[-1][0] == UNLABELLED
    drawn = colored(np.array([[0, 27, UNLABELLED]], np.uint8))
    np.testing.assert_array_equal(drawn[0], [SAPIENS28_COLORS[0], SAPIENS28_COLORS[27], [0, 0, 0]])
