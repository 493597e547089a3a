"""Recordings that the tests of the sources write themselves."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
SECOND = 1_000_000_000


def gradient(height: int = 48, width: int = 64, index: int = 0) -> np.ndarray:
    """A smooth coloured picture, other for each index; smooth because lossy codecs and demosaicing keep such pictures."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    picture = np.stack([40 + 160 * x, 220 - 150 * y, 20 + 37 * index % 140 + 60 * x * y], -1)
    return np.round(picture).astype(np.uint8)


def header(stamp_ns: int, frame_id: str = "camera") -> Any:
    stamp = STORE.types["builtin_interfaces/msg/Time"](sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return STORE.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def image(stamp_ns: int, data: np.ndarray, encoding: str, *, width: int, height: int, step: int) -> Any:
    return STORE.types["sensor_msgs/msg/Image"](
        header=header(stamp_ns), height=height, width=width, encoding=encoding, is_bigendian=0, step=step, data=data.reshape(-1)
    )


def rgb8(stamp_ns: int, rgb: np.ndarray) -> Any:
    height, width = rgb.shape[:2]
    return image(stamp_ns, rgb, "rgb8", width=width, height=height, step=3 * width)


def jpeg(stamp_ns: int, rgb: np.ndarray, format: str = "rgb8; jpeg compressed bgr8", suffix: str = ".jpg") -> Any:
    data = cv2.imencode(suffix, rgb[..., ::-1])[1].reshape(-1)
    return STORE.types["sensor_msgs/msg/CompressedImage"](header=header(stamp_ns), format=format, data=data)


def camera_info(stamp_ns: int, K: np.ndarray, width: int, height: int, d: Iterable[float] = (), **other: Any) -> Any:
    """ROS convention: the centre of the first pixel is 0."""
    roi = dict(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False) | other.pop("roi", {})
    fields = dict(
        header=header(stamp_ns),
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=np.array(list(d), dtype=np.float64),
        k=K.reshape(-1).astype(np.float64),
        r=np.eye(3).reshape(-1),
        p=np.hstack([K, np.zeros((3, 1))]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=STORE.types["sensor_msgs/msg/RegionOfInterest"](**roi),
    )
    return STORE.types["sensor_msgs/msg/CameraInfo"](**(fields | other))


def intrinsics(focal: float = 80.0, cx: float = 31.5, cy: float = 23.5) -> np.ndarray:
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])


def write_bag(folder: Path, messages: Iterable[tuple[str, int, Any]], storage: str = "mcap", compression: str = "") -> Path:
    """Writes (topic, recorder time [ns], message) in order."""
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if compression:
        writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer as bag:
        connections = {}
        for topic, time_ns, message in messages:
            if topic not in connections:
                connections[topic] = bag.add_connection(topic, message.__msgtype__, typestore=STORE)
            bag.write(connections[topic], time_ns, STORE.serialize_cdr(message, message.__msgtype__))
    return folder


def read_all(source: Any) -> list:
    with source:
        return list(iter(source.read, None))


@pytest.fixture
def make() -> SimpleNamespace:
    """The helpers of this file, for test modules."""
    return SimpleNamespace(
        **{name: value for name, value in globals().items() if isinstance(value, Callable) or name == "SECOND"}
    )


@pytest.fixture
def warnings() -> list[str]:
    return []


class FakeClock:
    """Time that passes only by sleeping and by `advance`."""

    def __init__(self):
        self.time_s = 100.0
        self.slept_s: list[float] = []

    def now_s(self) -> float:
        return self.time_s

    def sleep_s(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.time_s += seconds

    def advance(self, seconds: float) -> None:
        self.time_s += seconds


@pytest.fixture
def fake_clock() -> FakeClock:
    return FakeClock()
