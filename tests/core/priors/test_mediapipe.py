"""Behaviour of the MediaPipe prior on rendered people and on pictures without any, and of its small plain parts."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from fmgs_core.priors.mediapipe import (
    FaceSchedule,
    MediaPipeConfig,
    MediaPipePrior,
    head_box,
    is_person,
    native_chatter_dropped,
    shoulder_hip_yaw,
)
from fmgs_core.types import Camera, Frame


def frame_of(rgb: np.ndarray, stamp_ns: int = 0) -> Frame:
    height, width = rgb.shape[:2]
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]])
    return Frame(stamp_ns, rgb, Camera(K, width, height, np.eye(4)))


@pytest.fixture(scope="module")
def prior():
    pytest.importorskip("mediapipe", reason="extra [cpu] is not installed")
    prior = MediaPipePrior()
    yield prior
    prior.close()


def test_person_is_found_with_mask_landmarks_and_face(prior, shared: Path):
    cv2 = pytest.importorskip("cv2")
    folder = shared / "gt/dressed_a/train"
    rgb = cv2.cvtColor(cv2.imread(str(folder / "rgb/000000.png")), cv2.COLOR_BGR2RGB)
    truth = cv2.imread(str(folder / "mask/000000.png"), cv2.IMREAD_GRAYSCALE) > 127
    maps = prior.predict(frame_of(rgb))
    assert maps.mask is not None and maps.mask.dtype == np.float32 and maps.mask.shape == rgb.shape[:2]
    found = maps.mask > 0.5
    # Measured IoU of the pose mask is 0.97 to 0.98; a mask shifted or of another frame falls below 0.9.
    assert (found & truth).sum() / (found | truth).sum() > 0.93
    assert maps.keypoints is not None and maps.keypoints.layout == "mediapipe33"
    assert maps.keypoints.points.shape == (33, 3) and maps.keypoints.points_3d is not None
    x, y = maps.keypoints.points[:, 0].astype(int), maps.keypoints.points[:, 1].astype(int)
    assert truth[y, x].mean() > 0.8  # landmarks lie on the person, in pixels
    assert abs(shoulder_hip_yaw(maps.keypoints.points_3d)) < np.radians(30)  # frame 0 faces the camera
    assert maps.face_score is not None and maps.face_score > 0.6


def test_nobody_gives_no_maps(prior):
    rng = np.random.default_rng(0)
    for rgb in (np.zeros((120, 160, 3), np.uint8), rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)):
        maps = prior.predict(frame_of(rgb))
        assert maps.mask is None and maps.keypoints is None and maps.face_score is None


def test_invisible_or_bodiless_findings_are_nobody():
    points = np.random.default_rng(1).uniform(20, 80, (33, 3))
    points[:, 2] = 0.9
    mask = np.zeros((100, 100), np.float32)
    assert not is_person(mask, points, MediaPipeConfig())
    mask[20:80, 20:80] = 1
    assert is_person(mask, points, MediaPipeConfig())
    points[:, 2] = 0.1
    assert not is_person(mask, points, MediaPipeConfig())
    points[:, 2], points[3, 0] = 0.9, np.nan
    assert not is_person(mask, points, MediaPipeConfig())


def test_head_box_stays_inside_the_picture():
    points = np.zeros((33, 3))
    points[:, 1] = np.linspace(-20, 300, 33)
    assert head_box(points, 64, 48)[:2] == (0, 0)
    x0, y0, x1, y1 = head_box(points + 1e4, 64, 48)
    assert (x1 - x0, y1 - y0) == (0, 0)


def test_face_detector_runs_at_first_after_a_jump_and_on_every_nth():
    schedule = FaceSchedule(MediaPipeConfig(face_frames=2, face_every=10))
    front = np.zeros((33, 3))
    front[[11, 23], 0], front[[12, 24], 0] = 0.2, -0.2
    runs = [schedule.due(front) for _ in range(10)] + [schedule.due(-front) for _ in range(3)]
    assert [i for i, run in enumerate(runs) if run] == [0, 1, 9, 10, 11]
    assert not schedule.due(None)
    assert schedule.due(-front)  # a new person


def test_only_native_chatter_is_dropped(capfd):
    with native_chatter_dropped():
        os.write(2, b"W0000 00:00:1795345091.812538    6380 inference_feedback_manager.cc:114] Feedback manager\n")
        os.write(2, b"E0000 00:00:1795345091.812538    6380 graph.cc:1] broken\n")
        os.write(2, b"a Python warning\n")
    assert capfd.readouterr().err == "E0000 00:00:1795345091.812538    6380 graph.cc:1] broken\na Python warning\n"


@pytest.mark.parametrize("field, value", [("min_mean_visibility", 1.5), ("face_every", -1)])
def test_bad_config_names_field_and_value(field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        MediaPipeConfig(**{field: value})


def test_missing_mediapipe_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ImportError, match=r"pip install fmgs_ros\[cpu\]"):
        MediaPipePrior()
