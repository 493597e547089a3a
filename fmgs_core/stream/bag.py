"""ROS 2 bags (mcap and sqlite3) without ROS: every picture, in order, with the camera its CameraInfo says."""

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fmgs_core.stream.bag_files import Reader, message_count, open_readers
from fmgs_core.stream.calibration import Calibration, calibration_from_info
from fmgs_core.stream.intrinsics import CameraGuess, SizeWatch
from fmgs_core.stream.replay import Damage, Frames, ReplaySource, in_time_order
from fmgs_core.stream.ros_images import UnsupportedEncoding, rgb_from_compressed, rgb_from_image
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, log_warning
from fmgs_core.types import Frame, Image

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
# Pictures that wait for a CameraInfo of their own stamp; recorders interleave the two topics within a frame or two.
_LOOKAHEAD = 5

Message = Any
"""A deserialised message; rosbags makes these classes at run time."""


class BagSource(ReplaySource):
    """One image topic of a bag. Stamps are those of the headers (of the recorder where a header has none).

    The camera is that of the CameraInfo beside the topic: the one of the same stamp, else the newest before it. Distorted
    pictures are undistorted. Without a calibration the focal length is estimated, and a warning says so.

    Raises:
        ValueError: not a bag, no image topic or several (lists them), or a topic that does not carry 8-bit pictures.
    """

    def __init__(
        self,
        path: str | Path,
        config: SourceConfig | None = None,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        config, path = config or SourceConfig(), Path(path)
        with ExitStack() as stack:
            readers = open_readers(path, stack, on_warning)
            self.topic = image_topic(readers, config.topic, path)
            name = f"{path.name}:{self.topic}"
            topics = _Topics(readers, self.topic)
            cameras = _Cameras(name, self.topic, topics.first_info(), config, on_warning)
            fps, length = _rate(readers, self.topic), message_count(readers, self.topic)
            frames = _bag_frames(name, topics, cameras, length, on_warning, stack.pop_all())
        super().__init__(
            name,
            in_time_order(frames, name, config, on_warning),
            config,
            fps=fps,
            length=length,
            estimated=lambda: cameras.estimated,
            clock=clock or Clock(),
        )


def image_topic(readers: Iterable[Reader], wanted: str | None, path: Path) -> str:
    """The topic asked for, or the only image topic there is.

    Raises:
        ValueError: it is not there, there is none, or there are several.
    """
    connections = [c for reader in readers for c in reader.connections if c.msgcount and c.msgtype in (RAW, COMPRESSED)]
    topics = sorted({c.topic for c in connections if not c.topic.endswith("/compressedDepth")})
    if wanted in topics:
        return str(wanted)
    listed = ", ".join(topics) or "none"
    if wanted is not None:
        raise ValueError(f"{path}: expected pictures on topic {wanted!r}, got image topics: {listed}")
    if len(topics) != 1:
        raise ValueError(f"{path}: expected one image topic, or its name in `topic`, got {listed}")
    return topics[0]


class _Topics:
    """Messages of an image topic and of its CameraInfo, deserialised."""

    def __init__(self, readers: list[Reader], topic: str):
        from rosbags.typesys import Stores, get_typestore

        # The three message types are the same from Foxy on, so the definitions inside the bag are not needed.
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._readers, self._topic = readers, topic
        self._info_topic = self._beside(topic)

    def messages(self, name: str, damage: Damage, on_warning: OnWarning) -> Generator[tuple[int, Message], None, None]:
        """Recorder time [ns] and message; what cannot be read is left out, and what follows the damage of a file too."""
        for reader in self._readers:
            records = self._records(reader, (self._topic, self._info_topic))
            while True:
                try:
                    record = next(records, None)
                except Exception as error:  # rosbags lets the errors of SQLite and of its decompressors through
                    on_warning(f"{name}: {reader.path} cannot be read to its end: {error}")
                    break
                if record is None:
                    break
                message = self._deserialized(*record, damage)
                if message is not None:
                    yield record[1], message

    def first_info(self) -> Message | None:
        for reader in self._readers:
            for connection, _, raw in self._records(reader, (self._info_topic,)):
                return self._store.deserialize_cdr(raw, connection.msgtype)
        return None

    def _records(self, reader: Reader, topics: tuple[str | None, ...]) -> Generator[tuple[Any, int, bytes], None, None]:
        connections = [c for c in reader.connections if c.topic in topics]
        return reader.messages(connections) if connections else (x for x in ())

    def _deserialized(self, connection: Any, time_ns: int, raw: bytes, damage: Damage) -> Message | None:
        try:
            return self._store.deserialize_cdr(raw, connection.msgtype)
        except Exception as error:  # a short buffer comes out as whatever numpy or struct raise on it
            damage.bad(f"the message at {time_ns} ns on {connection.topic}", error)
            return None

    def _beside(self, topic: str) -> str | None:
        """camera_info in the namespace of the image topic, as image_transport defines it."""
        base = topic.removesuffix("/compressed")
        expected = f"{base.rpartition('/')[0]}/camera_info"
        infos = {c.topic for reader in self._readers for c in reader.connections if c.msgtype == INFO and c.msgcount}
        return expected if expected in infos else None


class _Cameras:
    """Camera and undistortion of each picture."""

    def __init__(self, name: str, topic: str, first: Message | None, config: SourceConfig, on_warning: OnWarning):
        # Of an image_rect topic the CameraInfo still holds the distortion that has been removed already.
        self._rectified = "rect" in topic.removesuffix("/compressed").rpartition("/")[2]
        self._guess = CameraGuess(config.focal_px)
        self._key, self._calibration = None, None
        self._calibrated = first is not None and calibration_from_info(first, rectified=self._rectified) is not None
        if self._calibrated and config.focal_px is not None:
            on_warning(f"{name}: focal_px={config.focal_px:g} is not used, the bag has a calibrated CameraInfo")
        if self.estimated:
            why = "no CameraInfo beside the topic" if first is None else "CameraInfo says uncalibrated (K[0] == 0)"
            on_warning(f"{name}: {why}; the focal length is estimated (SourceConfig.focal_px sets it)")

    @property
    def estimated(self) -> bool:
        return not self._calibrated and self._guess.estimated

    def frame(self, stamp_ns: int, rgb: Image, info: Message | None) -> Frame:
        if not self._calibrated or info is None:
            return self._guess.frame(stamp_ns, rgb)
        calibration = self._of(info, rgb.shape[1], rgb.shape[0])
        return Frame(stamp_ns, calibration.undistorted(rgb), calibration.undistorted_camera)

    def _of(self, info: Message, width: int, height: int) -> Calibration:
        """Cached, because a lens table costs more than a picture and a CameraInfo hardly ever changes."""
        roi = info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height
        key = (info.k.tobytes(), info.d.tobytes(), info.p.tobytes(), info.width, info.height, roi, width, height)
        if key != self._key or self._calibration is None:
            calibration = calibration_from_info(info, rectified=self._rectified)
            if calibration is None:
                raise ValueError("CameraInfo.k: expected a calibrated camera as at the start of the bag, got K[0] == 0")
            self._key, self._calibration = key, calibration.resized(width, height)
        return self._calibration


def _bag_frames(
    name: str, topics: _Topics, cameras: _Cameras, expected: int, on_warning: OnWarning, stack: ExitStack
) -> Frames:
    sizes, damage, count = SizeWatch(name, on_warning), Damage(name, on_warning), 0
    with stack:
        for time_ns, message, info in _paired(topics, name, damage, on_warning):
            stamp_ns = _stamp_ns(message) or time_ns
            try:
                rgb = _pixels(message)
                frame = cameras.frame(stamp_ns, rgb, info)
            except UnsupportedEncoding:
                raise
            except ValueError as error:
                damage.bad(f"the picture of {stamp_ns} ns", error)
                continue
            damage.good()
            sizes.see(f"the picture of {stamp_ns} ns", rgb)
            count += 1
            yield frame
    if count + damage.count < expected:
        on_warning(f"{name}: {count} of {expected} pictures could be read")


def _paired(
    topics: _Topics, name: str, damage: Damage, on_warning: OnWarning
) -> Generator[tuple[int, Message, Message | None], None, None]:
    """Each picture with its CameraInfo: that of its own stamp, else the newest before, else the first there is."""
    waiting: deque[tuple[int, Message]] = deque()
    info = topics.first_info()
    for time_ns, message in topics.messages(name, damage, on_warning):
        if message.__msgtype__ != INFO:
            waiting.append((time_ns, message))
            known = info is None or _stamp_ns(info) >= _stamp_ns(message)
            while waiting and (known or len(waiting) > _LOOKAHEAD):
                yield *waiting.popleft(), info
            continue
        while waiting and _stamp_ns(waiting[0][1]) < _stamp_ns(message):
            yield *waiting.popleft(), info
        info = message
        while waiting and _stamp_ns(waiting[0][1]) == _stamp_ns(message):
            yield *waiting.popleft(), info
    for time_ns, message in waiting:
        yield time_ns, message, info


def _pixels(message: Message) -> Image:
    if message.__msgtype__ == COMPRESSED:
        return rgb_from_compressed(message.format, message.data)
    return rgb_from_image(message.encoding, message.height, message.width, message.step, message.data)


def _stamp_ns(message: Message) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def _rate(readers: list[Reader], topic: str) -> float | None:
    """Mean rate over the recording; other topics may stretch it a little at both ends."""
    count = message_count(readers, topic)
    # rosbags' end is one past the last stamp.
    duration_ns = max(r.end_time for r in readers) - 1 - min(r.start_time for r in readers)
    return (count - 1) / (duration_ns * 1e-9) if count > 1 and duration_ns > 0 else None
