"""What is kept of a run for its pictures and figures."""

import statistics
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from fmgs_core.tracking.tracker import TrackedBody
from fmgs_core.types import BodyState, Camera, Frame, PriorMaps

JPEG_QUALITY = 92
NEWEST_TIMES = 10_000
RECORDED_SIDE_PX = 1280  # a 4K stream would take a gigabyte, and a minute to draw the overlays of


@dataclass(frozen=True)
class FrameRecord:
    """One frame of the stream as it was tracked when it came. Picture and mask are compressed, and shrunk when large."""

    index: int
    stamp_ns: int
    camera: Camera
    jpeg: bytes
    mask_png: bytes | None
    state: BodyState | None
    confidence: float

    def rgb(self) -> UInt8[np.ndarray, "h w 3"]:
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def mask(self) -> Float[np.ndarray, "h w"] | None:
        if self.mask_png is None:
            return None
        return cv2.imdecode(np.frombuffer(self.mask_png, np.uint8), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


class Recording:
    """At most `capacity` frames, evenly spread over the stream however long it gets."""

    def __init__(self, capacity: int):
        self._capacity, self._stride = capacity, 1
        self.frames: list[FrameRecord] = []

    def add(self, index: int, frame: Frame, maps: PriorMaps, tracked: TrackedBody) -> None:
        if index % self._stride:
            return
        self.frames.append(_record(index, frame, maps, tracked))
        if len(self.frames) > self._capacity:
            self._stride *= 2
            self.frames = [f for f in self.frames if f.index % self._stride == 0]


def _record(index: int, frame: Frame, maps: PriorMaps, tracked: TrackedBody) -> FrameRecord:
    camera = _shrunk(frame.camera)
    bgr = _resized(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), camera)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    mask_png = None
    if maps.mask is not None:
        mask = np.rint(_resized(maps.mask, camera) * 255).astype(np.uint8)
        mask_png = cv2.imencode(".png", mask)[1].tobytes()
    return FrameRecord(index, frame.stamp_ns, camera, jpeg, mask_png, tracked.state, tracked.confidence)


def _shrunk(camera: Camera) -> Camera:
    scale = min(1.0, RECORDED_SIDE_PX / max(camera.width, camera.height))
    return camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


def _resized(picture: np.ndarray, camera: Camera) -> np.ndarray:
    if picture.shape[:2] == (camera.height, camera.width):
        return picture
    return cv2.resize(picture, (camera.width, camera.height), interpolation=cv2.INTER_AREA)


class StageTimes:
    """Wall milliseconds by stage, of the newest NEWEST_TIMES. Each stage belongs to one thread, so there is no lock."""

    def __init__(self):
        self._ms: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=NEWEST_TIMES))

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._ms[stage].append(1e3 * (time.perf_counter() - start))

    def medians(self) -> dict[str, float]:
        # Copied first, in one step each: other threads go on measuring.
        copies = {stage: list(values) for stage, values in list(self._ms.items())}
        return {stage: statistics.median(values) for stage, values in copies.items() if values}


class RunningMean:
    """Mean of what was added since it was last taken. What is on a GPU stays there until then."""

    def __init__(self):
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, value: Float[Tensor, ""]) -> None:
        self._sum = value if self._sum is None else self._sum + value
        self._count += 1

    def take(self) -> float:
        mean = float("nan") if self._sum is None else float(self._sum) / self._count
        self._sum, self._count = None, 0
        return mean
