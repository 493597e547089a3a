"""Camera models of CameraInfo. Kinds: parity with OpenCV, properties (straight lines), behaviour of the special values."""

import cv2
import numpy as np
import pytest

from fmgs_core.stream.calibration import calibration_from_info

WIDTH, HEIGHT = 160, 120
K_ROS = np.array([[120.0, 0, 82.0], [0, 118.0, 57.0], [0, 0, 1]])
PLUMB_BOB = (-0.25, 0.08, 0.001, -0.002, 0.01)
RATIONAL = (0.3, -0.1, 0.001, -0.002, 0.02, 0.5, -0.05, 0.01)
EQUIDISTANT = (-0.05, 0.02, -0.01, 0.002)
LENSES = [("plumb_bob", PLUMB_BOB), ("rational_polynomial", RATIONAL), ("equidistant", EQUIDISTANT)]


@pytest.fixture
def info(make):
    def with_lens(model: str = "plumb_bob", d: tuple = (), **other):
        return make.camera_info(0, K_ROS, WIDTH, HEIGHT, d, distortion_model=model, **other)

    return with_lens


def distorted_pixels(points: np.ndarray, model: str, d: tuple) -> np.ndarray:
    """OpenCV's forward model: camera-frame points (n, 3) to ROS pixel coordinates."""
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    if model == "equidistant":
        return project(points[:, None], np.zeros(3), np.zeros(3), K_ROS, np.array(d))[0][:, 0]
    return project(points, np.zeros(3), np.zeros(3), K_ROS, np.array(d))[0][:, 0]


def test_pixel_centres_move_by_a_half(info):
    camera = calibration_from_info(info()).undistorted_camera
    np.testing.assert_array_equal(camera.K, K_ROS + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("d", [(), (0.0,) * 5])
def test_without_coefficients_the_picture_is_left_alone(info, make, d: tuple):
    calibration = calibration_from_info(info(d=d))
    rgb = make.gradient(HEIGHT, WIDTH)
    assert calibration.undistorted(rgb) is rgb
    np.testing.assert_array_equal(calibration.undistorted_camera.K, calibration.camera.K)


@pytest.mark.parametrize(("model", "d"), LENSES)
def test_a_dot_lands_where_the_pinhole_camera_says(info, model: str, d: tuple):
    """Draws what a lens shows of a world point, undistorts, and looks for it where the new camera projects the point."""
    calibration = calibration_from_info(info(model, d))
    for point in ([-0.3, -0.25, 1.0], [0.0, 0.0, 1.0], [0.35, 0.2, 1.0]):
        u, v = distorted_pixels(np.array([point]), model, d)[0]
        columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        blob = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 2.5**2))
        out = calibration.undistorted(np.round(blob).astype(np.uint8)[..., None].repeat(3, -1))[..., 0].astype(float)
        found = np.array([(out * (columns + 0.5)).sum(), (out * (rows + 0.5)).sum()]) / out.sum()
        # In the new camera's own axes (world y and z are flipped for an unposed camera).
        camera = calibration.undistorted_camera
        expected = (camera.K @ np.array(point))[:2]
        # 0.15 px: the centroid of a blob that the lens deforms; a forgotten half pixel or coefficient is 0.5 px and more.
        np.testing.assert_allclose(found, expected, atol=0.15)


@pytest.mark.parametrize(("model", "d"), LENSES)
def test_undistortion_is_opencvs(info, make, model: str, d: tuple):
    calibration = calibration_from_info(info(model, d))
    rgb, K_new = make.gradient(HEIGHT, WIDTH), calibration.undistorted_camera.K.copy()
    K_new[:2, 2] -= 0.5
    if model == "equidistant":
        expected = cv2.fisheye.undistortImage(rgb, K_ROS, np.array(d), Knew=K_new)
    else:
        expected = cv2.undistort(rgb, K_ROS, np.array(d), newCameraMatrix=K_new)
    # One level: fixed-point tables of 1/32 px against float ones.
    np.testing.assert_allclose(calibration.undistorted(rgb).astype(int), expected, atol=1)
    assert calibration.undistorted(rgb).min() > 0, "a pixel that the lens never saw"


def test_uncalibrated_is_none(info):
    assert calibration_from_info(info(k=np.zeros(9))) is None


def test_unknown_lens_is_refused_by_name(info):
    with pytest.raises(ValueError, match=r"expected one of plumb_bob.*got 'kannala'"):
        calibration_from_info(info("kannala", (0.1,)))


def test_unknown_lens_without_coefficients_is_a_pinhole(info):
    assert not calibration_from_info(info("", ())).distorted


def test_region_of_interest_moves_the_principal_point(info):
    camera = calibration_from_info(info(roi=dict(x_offset=20, y_offset=10, width=100, height=80))).camera
    assert (camera.width, camera.height) == (100, 80)
    np.testing.assert_allclose(camera.K[:2, 2], [82.5 - 20, 57.5 - 10])


def test_resizing_scales_about_the_pixel_corner(info):
    camera = calibration_from_info(info()).resized(WIDTH // 2, HEIGHT // 2).camera
    np.testing.assert_allclose(camera.K, [[60, 0, 41.25], [0, 59, 28.75], [0, 0, 1]])


def test_rectified_topics_use_the_projection_matrix(info):
    P = np.array([[100.0, 0, 80, 0], [0, 101.0, 60, 0], [0, 0, 1, 0]])
    calibration = calibration_from_info(info(d=PLUMB_BOB, p=P.reshape(-1)), rectified=True)
    assert not calibration.distorted
    np.testing.assert_array_equal(calibration.camera.K, [[100, 0, 80.5], [0, 101, 60.5], [0, 0, 1]])
