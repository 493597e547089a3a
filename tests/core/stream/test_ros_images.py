"""Pixels of ROS image messages. Kinds: round trip (every encoding, every stride), poison (sizes that contradict, cut data)."""

import cv2
import numpy as np
import pytest

from fmgs_core.stream.ros_images import UnsupportedEncoding, rgb_from_compressed, rgb_from_image

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def rgb(make) -> np.ndarray:
    return make.gradient(HEIGHT, WIDTH)


def padded(pixels: np.ndarray, padding: int) -> tuple[bytes, int]:
    """Rows with `padding` bytes of 0xAA behind each, and their step."""
    rows = pixels.reshape(HEIGHT, -1)
    rows = np.hstack([rows, np.full((HEIGHT, padding), 0xAA, np.uint8)])
    return rows.tobytes(), rows.shape[1]


def mosaic(rgb: np.ndarray, pattern: str) -> np.ndarray:
    """Bayer pattern by its own definition: the colours of the first two rows' first two pixels."""
    out = np.empty(rgb.shape[:2], np.uint8)
    for position, color in enumerate(pattern):
        row, column = divmod(position, 2)
        out[row::2, column::2] = rgb[row::2, column::2, "rgb".index(color)]
    return out


def yuv422(rgb: np.ndarray, order: str) -> np.ndarray:
    # Video-range BT.601, which is what cameras send and OpenCV expects in packed formats.
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    u = 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256
    v = 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256
    out = np.empty((*rgb.shape[:2], 2), np.uint8)
    luma, chroma = (1, 0) if order == "uyvy" else (0, 1)
    out[..., luma] = np.round(y)
    out[:, 0::2, chroma], out[:, 1::2, chroma] = np.round(u[:, ::2]), np.round(v[:, ::2])
    return out


@pytest.mark.parametrize("padding", [0, 1, 7, 64])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "8UC3", "rgba8", "bgra8", "8UC4"])
def test_colour_encodings_are_exact(rgb: np.ndarray, encoding: str, padding: int):
    swapped = encoding.startswith(("bgr", "8UC"))
    pixels = rgb[..., ::-1] if swapped else rgb
    if encoding in ("rgba8", "bgra8", "8UC4"):
        pixels = np.dstack([pixels, np.full((HEIGHT, WIDTH), 17, np.uint8)])
    data, step = padded(pixels, padding)
    np.testing.assert_array_equal(rgb_from_image(encoding, HEIGHT, WIDTH, step, data), rgb)


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey_fills_three_channels(rgb: np.ndarray, encoding: str, padding: int):
    data, step = padded(rgb[..., 0], padding)
    np.testing.assert_array_equal(rgb_from_image(encoding, HEIGHT, WIDTH, step, data), rgb[..., :1].repeat(3, -1))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_keep_their_colours(rgb: np.ndarray, pattern: str, padding: int):
    data, step = padded(mosaic(rgb, pattern), padding)
    out = rgb_from_image(f"bayer_{pattern}8", HEIGHT, WIDTH, step, data)
    # A step between two samples of one colour is 2 px of at most 7 levels; a swapped pattern is off by 60 levels and more.
    np.testing.assert_allclose(out[2:-2, 2:-2].astype(int), rgb[2:-2, 2:-2], atol=8)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuv422_yuy2", "yuyv"), ("yuyv", "yuyv")]
)
def test_yuv422(rgb: np.ndarray, encoding: str, order: str, padding: int):
    data, step = padded(yuv422(rgb, order), padding)
    out = rgb_from_image(encoding, HEIGHT, WIDTH, step, data)
    # Chroma of every second column (up to 3 levels of blue and red) and two roundings.
    np.testing.assert_allclose(out.astype(int), rgb, atol=8)


def test_the_last_row_may_lack_its_padding(rgb: np.ndarray):
    data, step = padded(rgb, 8)
    np.testing.assert_array_equal(rgb_from_image("rgb8", HEIGHT, WIDTH, step, data[:-8]), rgb)


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1", "rgb16", "bayer_rggb16", "nonsense", ""])
def test_other_encodings_are_refused_by_name(encoding: str):
    with pytest.raises(UnsupportedEncoding, match=f"rgb8.*got '{encoding}'"):
        rgb_from_image(encoding, 4, 4, 8, bytes(32))


@pytest.mark.parametrize(
    ("height", "width", "step", "size"), [(4, 4, 11, 48), (4, 4, 12, 47), (0, 4, 12, 48), (4, 0, 12, 48), (4, 4, 12, 0)]
)
def test_sizes_that_contradict_are_refused(height: int, width: int, step: int, size: int):
    with pytest.raises(ValueError, match=f"expected 3 bytes per pixel.*step {step}, {size} bytes"):
        rgb_from_image("rgb8", height, width, step, bytes(size))


@pytest.mark.parametrize("format", ["png", "rgb8; png compressed bgr8", "jpeg", "", "bgr8; jpeg compressed bgr8"])
def test_content_decides_what_a_compressed_picture_is(rgb: np.ndarray, format: str):
    data = cv2.imencode(".png", rgb[..., ::-1])[1].reshape(-1)
    np.testing.assert_array_equal(rgb_from_compressed(format, data), rgb)


def test_swapped_channels_are_known_by_the_format_string(rgb: np.ndarray):
    data = cv2.imencode(".png", rgb)[1].tobytes()
    np.testing.assert_array_equal(rgb_from_compressed("rgb8; png compressed rgb8", data), rgb)


def test_jpeg_is_close(rgb: np.ndarray):
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].reshape(-1)
    out = rgb_from_compressed("rgb8; jpeg compressed bgr8", data)
    # JPEG 95 with halved chroma on a gradient: 3 levels; swapped channels would be off by 100.
    assert np.abs(out.astype(int) - rgb).max() <= 6


def test_compressed_grey_and_alpha(rgb: np.ndarray):
    grey = cv2.imencode(".png", rgb[..., 0])[1].tobytes()
    np.testing.assert_array_equal(rgb_from_compressed("mono8; png compressed mono8", grey), rgb[..., :1].repeat(3, -1))
    bgra = np.dstack([rgb[..., ::-1], np.full((HEIGHT, WIDTH), 9, np.uint8)])
    np.testing.assert_array_equal(rgb_from_compressed("png", cv2.imencode(".png", bgra)[1].tobytes()), rgb)


def test_sixteen_bit_png_is_refused(rgb: np.ndarray):
    data = cv2.imencode(".png", rgb[..., 0].astype(np.uint16) * 256)[1].tobytes()
    with pytest.raises(UnsupportedEncoding, match="8-bit JPEG or PNG, got uint16"):
        rgb_from_compressed("16UC1; png compressed", data)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff\xe0nothing", b"hello"])
def test_what_does_not_decode_is_refused(data: bytes):
    with pytest.raises(ValueError, match=f"got {len(data)} bytes of format 'jpeg' that do not decode"):
        rgb_from_compressed("jpeg", data)
