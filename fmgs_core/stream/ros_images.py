"""Pixels of sensor_msgs/Image and sensor_msgs/CompressedImage. Pure functions of the message's fields, no ROS needed."""

import cv2
import numpy as np

from fmgs_core.types import Image

# OpenCV names a Bayer pattern by its second row; its aliases RGGB.. name it as ROS does, by the first.
_CONVERSIONS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUYV),
}
"""Encoding (sensor_msgs/image_encodings.hpp) -> bytes per pixel, OpenCV conversion to RGB."""


class UnsupportedEncoding(ValueError):
    """The topic does not carry 8-bit pictures: no message of it will do."""


def rgb_from_image(encoding: str, height: int, width: int, step: int, data: np.ndarray | bytes) -> Image:
    """RGB pixels of a raw image message. `step` is the length of a row in bytes and may hold padding.

    Raises:
        UnsupportedEncoding: not 8-bit colour or grey.
        ValueError: sizes that contradict the data.
    """
    if encoding not in _CONVERSIONS:
        raise UnsupportedEncoding(
            f"Image.encoding: expected one of {', '.join(_CONVERSIONS)}, got {encoding!r}{_hint(encoding)}"
        )
    channels, conversion = _CONVERSIONS[encoding]
    buffer = np.frombuffer(data, np.uint8)
    if height < 1 or width < 1 or step < width * channels or buffer.size < step * (height - 1) + width * channels:
        got = f"{width} x {height}, step {step}, {buffer.size} bytes"
        raise ValueError(f"Image: expected {channels} bytes per pixel of {encoding}, rows of `step` bytes, got {got}")
    rows = np.lib.stride_tricks.as_strided(buffer, (height, width, channels), (step, channels, 1), writeable=False)
    if conversion is None:
        return rows.copy()
    return cv2.cvtColor(np.ascontiguousarray(rows), conversion)


def rgb_from_compressed(format: str, data: np.ndarray | bytes) -> Image:
    """RGB pixels of a JPEG or PNG message. What it is decides its content; of `format`, only the channel order is used.

    image_transport writes "<encoding>; jpeg compressed bgr8" for a file whose colours are as they should be, and
    "... compressed rgb8" when it handed RGB to an encoder that takes BGR, so that the file has red and blue swapped.

    Raises:
        UnsupportedEncoding: a picture of more than 8 bits.
        ValueError: not a picture, or a cut one.
    """
    buffer = np.frombuffer(data, np.uint8)
    picture = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED) if buffer.size else None
    expected = "CompressedImage: expected an 8-bit JPEG or PNG"
    if picture is None:
        raise ValueError(f"{expected}, got {buffer.size} bytes of format {format!r} that do not decode")
    if picture.dtype != np.uint8:
        raise UnsupportedEncoding(f"{expected}, got {picture.dtype.name} of format {format!r}{_hint('16UC1')}")
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    if "compressed rgb" in format:
        return np.ascontiguousarray(picture[..., :3])
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _hint(encoding: str) -> str:
    if encoding.startswith(("16UC", "32FC", "mono16")):
        return " (a depth or 16-bit picture; name the topic of the colour picture)"
    return ""
