"""Calibration files of camera_calibration. Kinds: round trip into the core's camera, poison values."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fmgs_core.stream.calibration import calibration_from_info
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera
from fmgs_ros.camera_yaml import fill_info, read_camera_yaml

GOOD = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix: {rows: 3, cols: 3, data: [500.5, 0, 319.5, 0, 501, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.001, 0.002, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [490, 0, 318, 0, 0, 495, 241, 0, 0, 0, 1, 0]}
"""
WITHOUT_RECTIFICATION = "".join(line for line in GOOD.splitlines(True) if not line.startswith(("rect", "proj")))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "camera.yaml"
    path.write_text(text)
    return path


def info_of(path: Path) -> SimpleNamespace:
    message = SimpleNamespace(roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0))
    read_camera_yaml(path).fill(message)
    return message


def test_the_core_reads_what_the_file_says(tmp_path: Path):
    calibration = calibration_from_info(info_of(written(tmp_path, GOOD)))
    assert calibration is not None
    np.testing.assert_array_equal(calibration.camera.K, [[500.5, 0, 320], [0, 501, 240.5], [0, 0, 1]])
    assert (calibration.camera.width, calibration.camera.height) == (640, 480)
    assert calibration.distortion == (0.1, -0.2, 0.001, 0.002, 0.0)


def test_a_single_camera_needs_no_rectification(tmp_path: Path):
    message = info_of(written(tmp_path, WITHOUT_RECTIFICATION))
    assert message.r == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert message.p == [500.5, 0, 319.5, 0, 0, 501, 240, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_width: 640", "image_width: wide", "expected image_width of at least 1, got 'wide'"),
        ("image_height: 480", "image_height: 0", "expected image_height of at least 1, got 0"),
        ("319.5, ", "", "expected camera_matrix with data of 9 finite numbers"),
        ("0.1, -0.2", ".nan, -0.2", "expected distortion_coefficients with data of some finite numbers"),
        ("camera_matrix", "matrix", "expected camera_matrix with data of 9 finite numbers, got None"),
        ("495", "x", "expected projection_matrix with data of 12 finite numbers"),
        (GOOD, "a: [", "expected a YAML file"),
        (GOOD, "just words", "expected entries such as camera_matrix, got str"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_camera_yaml(written(tmp_path, GOOD.replace(old, new)))


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ValueError, match=r"none\.yaml: expected a YAML file"):
        read_camera_yaml(tmp_path / "none.yaml")


def camera(width: int = 640, height: int = 480) -> Camera:
    return Camera(np.array([[700, 0, 320], [0, 700, 240], [0, 0, 1.0]]), width, height, T_CAMERA_WORLD_UNPOSED)


def message() -> SimpleNamespace:
    return SimpleNamespace(roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0))


def test_what_a_source_knows_of_its_camera_comes_through():
    fill_info(info := message(), camera(), None, is_estimated=False)
    calibration = calibration_from_info(info)
    assert calibration is not None
    np.testing.assert_array_equal(calibration.camera.K, camera().K)


def test_a_guess_is_passed_on_as_uncalibrated():
    fill_info(info := message(), camera(), None, is_estimated=True)
    assert calibration_from_info(info) is None and (info.width, info.height) == (640, 480)


def test_a_calibration_goes_before_what_the_source_knows_and_only_fits_its_size(tmp_path: Path):
    file = read_camera_yaml(written(tmp_path, GOOD))
    fill_info(info := message(), camera(), file, is_estimated=True)
    assert info.k[0] == 500.5
    with pytest.raises(ValueError, match="expected pictures of 640 x 480 as the file says, got 320 x 240"):
        fill_info(message(), camera(320, 240), file, is_estimated=False)
