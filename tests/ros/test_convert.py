"""Pictures, cameras and stamps, both ways. Kind: round trip, over every encoding and stride; behaviour on bad input."""

from array import array

import numpy as np
import pytest

from fmgs_core.stream.ros_images import UnsupportedEncoding
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera
from fmgs_ros.convert import (
    FrameReader,
    Uncalibrated,
    camera_of,
    fill_camera_info,
    fill_header,
    fill_image,
    fill_jpeg,
    fill_png,
    rgb_of,
    set_stamp,
    stamp_ns,
    values_of,
)

from . import messages

H, W = 5, 7
SHAPES = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4), "8UC3": ("u1", 3),
    "mono8": ("u1", 1), "8UC1": ("u1", 1), "mono16": ("u2", 1), "16UC1": ("u2", 1), "32FC1": ("f4", 1), "32FC3": ("f4", 3),
}  # fmt: skip
IN_RGB = {"rgb8": [0, 1, 2], "bgr8": [2, 1, 0], "rgba8": [0, 1, 2], "bgra8": [2, 1, 0], "8UC3": [2, 1, 0]}
"""Where red, green and blue are."""


def values(encoding: str, seed: int = 0) -> np.ndarray:
    dtype, channels = SHAPES[encoding]
    rng = np.random.default_rng(seed)
    shape = (H, W) if channels == 1 else (H, W, channels)
    return rng.integers(0, 256 if dtype == "u1" else 60000, shape).astype(dtype)


@pytest.mark.parametrize("padding", [0, 1, 9])
@pytest.mark.parametrize("encoding", SHAPES)
def test_values_come_back(encoding: str, padding: int):
    expected, message = values(encoding), messages.image()
    fill_image(message, expected, encoding)
    assert (message.height, message.width, message.step) == (H, W, expected[0].nbytes)
    pad(message, padding)
    got = values_of(message)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("encoding", IN_RGB)
def test_colours_come_back_as_rgb(encoding: str, padding: int):
    pixels, message = values(encoding), messages.image()
    fill_image(message, pixels, encoding)
    pad(message, padding)
    np.testing.assert_array_equal(rgb_of(message), pixels[..., IN_RGB[encoding]])


def pad(message, padding: int) -> None:
    """Rows get longer, with garbage at their ends."""
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    wide = np.full((message.height, message.step + padding), 0xAB, np.uint8)
    wide[:, : message.step] = rows
    message.step, message.data = message.step + padding, array("B", wide.tobytes())


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_values_of_a_big_endian_machine(encoding: str):
    expected, message = values(encoding), messages.image()
    fill_image(message, expected, encoding)
    message.is_bigendian, message.data = 1, array("B", expected.astype(expected.dtype.newbyteorder(">")).tobytes())
    np.testing.assert_array_equal(values_of(message), expected)


def test_a_cut_out_is_written_without_its_neighbours():
    whole, message = np.arange(300, dtype=np.uint8).reshape(10, 10, 3), messages.image()
    fill_image(message, whole[2:5, 3:7], "rgb8")
    np.testing.assert_array_equal(values_of(message), whole[2:5, 3:7])


def test_depth_keeps_nan():
    depth, message = np.array([[np.nan, 1.5]], np.float32), messages.image()
    fill_image(message, depth, "32FC1")
    np.testing.assert_array_equal(values_of(message), depth)


@pytest.mark.parametrize(
    ("array_", "encoding", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), "rgb8", "expected uint8 of 3"),
        (np.zeros((4, 4), np.uint8), "rgb8", "expected uint8 of 3"),
        (np.zeros((4, 4, 3), np.uint8), "mono8", "expected uint8 of 1"),
        (np.zeros((0, 4, 3), np.uint8), "rgb8", "expected uint8 of 3"),
        (np.zeros((4, 4), np.float64), "32FC1", "expected float32"),
        (np.zeros((4, 4), np.uint8), "yuv422", "Image.encoding"),
    ],
)
def test_values_that_do_not_fit_are_refused(array_: np.ndarray, encoding: str, said: str):
    with pytest.raises(ValueError, match=said):
        fill_image(messages.image(), array_, encoding)


def test_a_message_shorter_than_it_says_is_refused():
    message = messages.image()
    fill_image(message, values("16UC1"), "16UC1")
    message.data = message.data[:-1]
    with pytest.raises(ValueError, match="bytes in each row of 16UC1"):
        values_of(message)


def test_jpeg_is_a_picture_with_its_colours_in_place():
    rgb, message = np.zeros((32, 32, 3), np.uint8), messages.compressed()
    rgb[..., 0] = 200
    fill_jpeg(message, rgb, quality=95)
    assert message.format == "rgb8; jpeg compressed bgr8"
    # JPEG of one colour is right to 2 of 255.
    np.testing.assert_allclose(rgb_of(message).astype(int), rgb, atol=2)


def test_png_of_class_ids_is_exact():
    labels, message = np.arange(256, dtype=np.uint8).reshape(16, 16), messages.compressed()
    fill_png(message, labels)
    np.testing.assert_array_equal(rgb_of(message)[..., 1], labels)


def test_a_depth_topic_in_place_of_the_picture_is_named():
    message = messages.image()
    fill_image(message, values("16UC1"), "16UC1")
    with pytest.raises(UnsupportedEncoding, match="depth"):
        rgb_of(message)


@pytest.mark.parametrize("ns", [0, 1, 999_999_999, 1_000_000_000, 1_763_800_000_123_456_789])
def test_stamps_come_back_to_the_nanosecond(ns: int):
    header = messages.header()
    fill_header(header, ns, "optical")
    assert stamp_ns(header.stamp) == ns and header.frame_id == "optical"
    assert 0 <= header.stamp.nanosec < 10**9
    set_stamp(header.stamp, ns + 1)
    assert stamp_ns(header.stamp) == ns + 1


def test_camera_comes_back_and_ros_has_its_pixel_centres_at_whole_numbers():
    camera = Camera(np.array([[600.0, 0, 320.5], [0, 610.0, 240.25], [0, 0, 1]]), 640, 480, T_CAMERA_WORLD_UNPOSED)
    message = messages.camera_info()
    fill_camera_info(message, camera)
    assert message.k[2] == 320.0 and message.k[5] == 239.75
    np.testing.assert_allclose(np.asarray(message.p).reshape(3, 4)[:, :3], np.asarray(message.k).reshape(3, 3))
    again = camera_of(message)
    np.testing.assert_allclose(again.K, camera.K)
    assert (again.width, again.height) == (640, 480)


def test_an_uncalibrated_camera_is_refused_unless_it_may_be_estimated():
    picture = messages.image(7)
    fill_image(picture, values("rgb8"), "rgb8")
    for info in (None, messages.camera_info()):
        with pytest.raises(Uncalibrated, match="calibrated"):
            FrameReader().frame(picture, info)
        reader = FrameReader(estimate=True)
        frame = reader.frame(picture, info)
        assert reader.estimated and frame.stamp_ns == 7 and frame.camera.K[0, 0] == pytest.approx(1.2 * W)
    with pytest.raises(Uncalibrated, match="K\\[0\\] == 0"):
        camera_of(messages.camera_info())


def test_a_given_focal_length_counts_where_there_is_no_calibration():
    picture = messages.image()
    fill_image(picture, values("rgb8"), "rgb8")
    reader = FrameReader(focal_px=50.0)
    assert reader.frame(picture, None).camera.K[0, 0] == 50.0 and reader.estimated


def test_a_calibration_of_another_size_is_resampled_and_a_new_one_taken_over():
    picture, info = messages.image(), messages.camera_info()
    fill_image(picture, values("rgb8"), "rgb8")
    K = np.array([[10.0, 0, 7], [0, 10, 5], [0, 0, 1]])
    fill_camera_info(info, Camera(K, 2 * W, 2 * H, T_CAMERA_WORLD_UNPOSED))
    reader = FrameReader()
    frame = reader.frame(picture, info)
    np.testing.assert_allclose(frame.camera.K, np.diag([0.5, 0.5, 1]) @ K)
    assert not reader.estimated
    np.testing.assert_array_equal(frame.rgb, values("rgb8"))
    fill_camera_info(info, Camera(2 * K - np.diag([0, 0, 1.0]), 2 * W, 2 * H, T_CAMERA_WORLD_UNPOSED))
    assert reader.frame(picture, info).camera.K[0, 0] == 10.0


def test_a_distorted_picture_is_straightened():
    rng = np.random.default_rng(0)
    picture, info = messages.image(), messages.camera_info()
    fill_image(picture, rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), "rgb8")
    fill_camera_info(info, Camera(np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]]), 64, 48, T_CAMERA_WORLD_UNPOSED))
    info.d = [-0.2, 0.05, 0.0, 0.0, 0.0]
    frame = FrameReader().frame(picture, info)
    assert not np.array_equal(frame.rgb, rgb_of(picture)) and frame.camera.K[0, 0] != 60.0
    straight = FrameReader(rectified=True).frame(picture, info)
    np.testing.assert_array_equal(straight.rgb, rgb_of(picture))
