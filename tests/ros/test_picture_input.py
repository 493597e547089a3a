"""Messages of pictures and camera_info into frames. Kind: behaviour, on stand-ins for messages."""

import numpy as np
import pytest

from fmgs_core.stream import SourceConfig
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera
from fmgs_ros.convert import fill_camera_info, fill_image
from fmgs_ros.pairing import CameraInfos
from fmgs_ros.picture_input import PictureInput

from .messages import Message, camera_info, header, image

MS = 1_000_000


def picture(ns: int, value: int = 9, frame_id: str = "camera") -> Message:
    message = image(ns)
    message.header = header(ns, frame_id)
    fill_image(message, np.full((4, 6, 3), value, np.uint8), "rgb8")
    return message


def info(ns: int, focal_px: float = 5.0) -> Message:
    message = camera_info(ns)
    K = np.array([[focal_px, 0, 3], [0, focal_px, 2], [0, 0, 1]])
    fill_camera_info(message, Camera(K, 6, 4, T_CAMERA_WORLD_UNPOSED))
    return message


def uncalibrated(ns: int) -> Message:
    message = info(ns)
    message.k = np.zeros(9)
    return message


def focal_px(pictures: PictureInput) -> float:
    frame = pictures.source.read_latest(10.0)
    assert frame is not None
    return float(frame.camera.K[0, 0])


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def pictures(said: list[str]) -> PictureInput:
    return PictureInput("/image_raw", SourceConfig(), on_warning=said.append)


def test_a_picture_takes_the_camera_of_its_own_stamp_though_it_comes_later(pictures: PictureInput):
    pictures.on_info(info(1 * MS, 5.0))
    pictures.on_picture(picture(2 * MS))
    pictures.on_info(info(2 * MS, 7.0))
    pictures.on_info(info(3 * MS, 9.0))
    assert focal_px(pictures) == 7.0


def test_one_camera_info_is_enough_for_every_picture(pictures: PictureInput):
    """What a synchroniser of equal stamps would make of this: nothing but the first frame."""
    pictures.on_info(info(0))
    for i in range(20):
        pictures.on_picture(picture(i * MS))
        frame = pictures.source.read_latest(10.0)
        assert frame is not None and frame.stamp_ns == i * MS
    assert pictures.received.count == 20


def test_only_the_newest_few_are_kept():
    infos = CameraInfos()
    for i in range(100):
        infos.add(info(i * MS, 5.0 + i))
    assert infos.of(picture(99 * MS)).k[0] == 104 and infos.of(picture(3 * MS)).k[0] == 104
    assert len(infos._infos) == 8


def test_an_uncalibrated_camera_is_refused_and_the_reason_stays_until_it_is_gone(pictures: PictureInput, said: list[str]):
    pictures.on_info(uncalibrated(0))
    for i in range(3):
        pictures.on_picture(picture(i * MS))
        assert pictures.source.read_latest(0.01) is None
    assert pictures.fault is not None and "expected a calibrated camera" in pictures.fault and "K[0] == 0" in pictures.fault
    assert len(said) == 1 and pictures.source.dropped == 3
    pictures.on_info(info(4 * MS))
    pictures.on_picture(picture(4 * MS))
    assert focal_px(pictures) == 5.0 and pictures.fault is None


def test_pictures_without_any_camera_info_are_refused(pictures: PictureInput):
    pictures.on_picture(picture(0))
    assert pictures.source.read_latest(0.01) is None
    assert pictures.fault is not None and "no CameraInfo" in pictures.fault


def test_a_focal_length_is_guessed_when_that_is_allowed_and_said_once(said: list[str]):
    pictures = PictureInput("/image_raw", SourceConfig(), estimate=True, on_warning=said.append)
    pictures.on_info(uncalibrated(0))
    for i in range(3):
        pictures.on_picture(picture(i * MS))
        assert focal_px(pictures) == pytest.approx(1.2 * 6)
    assert len(said) == 1 and "taken for 7 px" in said[0]
    assert pictures.source.camera_is_estimated


def test_a_focal_length_that_was_given_is_no_guess(said: list[str]):
    pictures = PictureInput("/image_raw", SourceConfig(focal_px=6.5), on_warning=said.append)
    pictures.on_picture(picture(0))
    assert focal_px(pictures) == 6.5 and said == []


def test_a_broken_picture_costs_only_itself(pictures: PictureInput, said: list[str]):
    pictures.on_info(info(0))
    broken = picture(1 * MS)
    broken.step = 1
    pictures.on_picture(broken)
    assert pictures.source.read_latest(0.01) is None and pictures.fault is not None
    pictures.on_picture(picture(2 * MS))
    assert focal_px(pictures) == 5.0 and pictures.fault is None and len(said) == 1


def test_the_newest_wins_and_its_frame_is_known(pictures: PictureInput):
    pictures.on_info(info(0))
    for i, frame_id in enumerate(("a", "b", "c")):
        pictures.on_picture(picture(i * MS, value=i, frame_id=frame_id))
    frame = pictures.source.read_latest(10.0)
    assert frame is not None and int(frame.rgb[0, 0, 0]) == 2
    assert pictures.source.dropped == 2 and pictures.frame_id == "c"
