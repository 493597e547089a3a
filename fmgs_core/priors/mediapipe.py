"""Mask, 33 landmarks and a face score from MediaPipe 0.10.21, whose models come inside its wheel."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float

from fmgs_core.types import Frame, Image, Keypoints, PriorMaps

NOSE, LEFT_EAR, RIGHT_EAR, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 0, 7, 8, 11, 12, 23, 24

# What the C++ half writes to file descriptor 2 at its start, whatever the log level says: absl is not initialised in the wheel.
_NATIVE_CHATTER = re.compile(
    rb"^(WARNING: All log messages before absl|INFO: Created TensorFlow Lite|[IW]\d{4} [\d:. ]+ +\d+ \w+\.cc:\d+\])"
)


@dataclass(frozen=True)
class MediaPipeConfig:
    """Settings of `MediaPipePrior`."""

    min_detection_confidence: float = 0.5
    """Of MediaPipe's person detector, which looks for a person to follow."""
    min_tracking_confidence: float = 0.5
    """Below this MediaPipe stops following its landmarks and detects anew."""
    min_mean_visibility: float = 0.3
    """Mean visibility of the 33 landmarks below which the finding counts as nobody: a face and shoulders alone reach 0.4."""
    min_mask_share: float = 0.1
    """Mask area over the area of the landmarks' box below which the finding counts as nobody; people have 0.25 to 0.7."""
    face_frames: int = 5
    """The face detector (4 to 10 ms) runs on this many frames after a person appeared or the landmarks' yaw jumped."""
    face_every: int = 15
    """... and on every n-th frame besides; 0 for never."""
    face_yaw_jump_deg: float = 60.0
    """Turn of the shoulder and hip axes within one frame that asks for the face detector."""

    def __post_init__(self):
        for name in ("min_detection_confidence", "min_tracking_confidence", "min_mean_visibility", "min_mask_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"MediaPipeConfig.{name}: expected a value in [0, 1], got {getattr(self, name)}")
        for name in ("face_frames", "face_every", "face_yaw_jump_deg"):
            if getattr(self, name) < 0:
                raise ValueError(f"MediaPipeConfig.{name}: expected zero or more, got {getattr(self, name)}")


class MediaPipePrior:
    """Landmarks and mask of one person from one call per frame, about 15 to 25 ms at 640 x 480.

    MediaPipe's own smoothing is off: it lags, and its hidden state survives left/right flips (the tracker smooths).

    Raises:
        ImportError: mediapipe or one of the system libraries it needs is missing; the message names the packages.
    """

    def __init__(self, config: MediaPipeConfig = MediaPipeConfig()):
        self.config = config
        with native_chatter_dropped():
            solutions = _import_mediapipe().solutions
            self._pose = solutions.pose.Pose(
                model_complexity=1,
                smooth_landmarks=False,
                enable_segmentation=True,
                smooth_segmentation=False,
                min_detection_confidence=config.min_detection_confidence,
                min_tracking_confidence=config.min_tracking_confidence,
            )
            self._face = solutions.face_detection.FaceDetection(model_selection=1, min_detection_confidence=0.1)
            # The graphs open in threads of their own and talk then; a black picture waits for that (0.3 s).
            self._pose.process(np.zeros((64, 64, 3), np.uint8))
            self._face.process(np.zeros((64, 64, 3), np.uint8))
        self._schedule = FaceSchedule(config)
        self._settled = False

    def predict(self, frame: Frame) -> PriorMaps:
        """Mask, "mediapipe33" keypoints and now and then a face score; every map is None when nobody is there."""
        # The last start-up message comes with the first person, so until then stderr is sifted at 0.1 ms a frame.
        with contextlib.nullcontext() if self._settled else native_chatter_dropped():
            found = self._person(frame.rgb)
            due = self._schedule.due(found[1].points_3d if found else None)
            score = self._face_score(frame.rgb, found[1].points) if found and due else None
        if found is None:
            return PriorMaps()
        self._settled |= score is not None
        return PriorMaps(mask=found[0], keypoints=found[1], face_score=score)

    def close(self) -> None:
        self._pose.close()
        self._face.close()

    def _person(self, rgb: Image) -> tuple[Float[np.ndarray, "h w"], Keypoints] | None:
        result: Any = self._pose.process(np.ascontiguousarray(rgb))
        if result.pose_landmarks is None or result.pose_world_landmarks is None or result.segmentation_mask is None:
            return None
        mask = np.clip(np.asarray(result.segmentation_mask, dtype=np.float32), 0.0, 1.0)
        keypoints = keypoints_from_landmarks(
            result.pose_landmarks.landmark, result.pose_world_landmarks.landmark, rgb.shape[1], rgb.shape[0]
        )
        return (mask, keypoints) if is_person(mask, keypoints.points, self.config) else None

    def _face_score(self, rgb: Image, points: Float[np.ndarray, "33 3"]) -> float:
        """Best score on the head crop; 0 when no face was found, which proves nothing (a profile scores nothing too)."""
        x0, y0, x1, y1 = head_box(points, rgb.shape[1], rgb.shape[0])
        if x1 - x0 < 8 or y1 - y0 < 8:
            return 0.0
        found: Any = self._face.process(np.ascontiguousarray(rgb[y0:y1, x0:x1])).detections
        return max((float(detection.score[0]) for detection in found or ()), default=0.0)


class FaceSchedule:
    """Decides on which frames the face detector is worth its time."""

    def __init__(self, config: MediaPipeConfig):
        self._config = config
        self._yaw: float | None = None
        self._pending, self._frame = 0, 0

    def due(self, points_3d: Float[np.ndarray, "33 3"] | None) -> bool:
        """Whether to run on the frame with these landmarks; None means nobody was found."""
        if points_3d is None:
            self._yaw = None
            return False
        yaw, last = shoulder_hip_yaw(points_3d), self._yaw
        self._yaw, self._frame = yaw, self._frame + 1
        if last is None or abs((yaw - last + np.pi) % (2 * np.pi) - np.pi) > np.radians(self._config.face_yaw_jump_deg):
            self._pending = self._config.face_frames
        self._pending -= 1
        return self._pending >= 0 or (self._config.face_every > 0 and self._frame % self._config.face_every == 0)


def keypoints_from_landmarks(image_landmarks: Any, world_landmarks: Any, width: int, height: int) -> Keypoints:
    """MediaPipe's normalised x in [0, 1] spans the whole picture, so x * width has pixel centres at +0.5 already."""
    points = np.array([[p.x * width, p.y * height, p.visibility] for p in image_landmarks])
    world = np.array([[p.x, p.y, p.z] for p in world_landmarks])
    return Keypoints(layout="mediapipe33", points=points, points_3d=world)


def is_person(mask: Float[np.ndarray, "h w"], points: Float[np.ndarray, "33 3"], config: MediaPipeConfig) -> bool:
    """MediaPipe lays landmarks on anything it once followed; an invisible or bodiless person is none."""
    if not np.isfinite(points).all() or points[:, 2].mean() < config.min_mean_visibility:
        return False
    height, width = mask.shape
    low = np.clip(points[:, :2].min(0), 0, (width, height))
    high = np.clip(points[:, :2].max(0), 0, (width, height))
    return float((mask > 0.5).sum()) > config.min_mask_share * float(np.prod(high - low)) > 0


def head_box(points: Float[np.ndarray, "33 3"], width: int, height: int) -> tuple[int, int, int, int]:
    """Square around nose and ears of half side 0.28 landmark heights, clipped to the picture: x0, y0, x1, y1."""
    center = points[[NOSE, LEFT_EAR, RIGHT_EAR], :2].mean(0)
    half = 0.28 * np.ptp(points[:, 1])
    x0, y0 = np.clip(center - half, 0, (width, height)).astype(int)
    x1, y1 = np.clip(center + half, 0, (width, height)).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def shoulder_hip_yaw(points_3d: Float[np.ndarray, "33 3"]) -> float:
    """Turn about the vertical [rad]: 0 faces the camera, the left side then being on the right of the picture."""
    axis = points_3d[LEFT_SHOULDER] - points_3d[RIGHT_SHOULDER] + points_3d[LEFT_HIP] - points_3d[RIGHT_HIP]
    return float(np.arctan2(axis[2], axis[0]))


@contextlib.contextmanager
def native_chatter_dropped() -> Iterator[None]:
    """Holds back file descriptor 2 and afterwards writes it out without the known start-up lines of the C++ libraries.

    Anything else, errors and other threads' words included, comes out late but whole.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            held.seek(0)
            kept = b"".join(line for line in held if not _NATIVE_CHATTER.match(line))
            if kept:
                os.write(2, kept)
            os.close(real)


def _import_mediapipe() -> ModuleType:
    try:
        import mediapipe
    except ModuleNotFoundError as error:
        if error.name != "mediapipe":
            raise
        raise ImportError("MediaPipePrior needs mediapipe 0.10.21: pip install fmgs_ros[cpu]") from error
    except ImportError as error:
        if ".so" not in str(error):
            raise
        raise ImportError(f"mediapipe lacks a system library ({error}): apt install libgl1 libglib2.0-0") from error
    return mediapipe
