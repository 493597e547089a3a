"""The person's box. Kinds: behaviour at edges, poison values."""

import numpy as np
import pytest

from fmgs_core.priors.person import box_of
from fmgs_core.types import Keypoints, PriorMaps


def mask(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    values = np.full((40, 60), 0.4, np.float32)
    values[y0:y1, x0:x1] = 0.9
    return values


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (10, 5, 11, 6), (59, 39, 60, 40), (3, 7, 41, 23)])
def test_the_box_is_the_masks(box: tuple[int, int, int, int]):
    assert box_of(PriorMaps(mask=mask(*box))) == box


def test_sure_landmarks_inside_the_picture_widen_it():
    points = np.array([[5.5, 8.5, 0.9], [50.2, 20.0, 0.9], [30.0, 2.0, 0.4], [-4.0, 10.0, 0.9], [30.0, 90.0, 0.9]])
    assert box_of(PriorMaps(mask=mask(20, 10, 30, 30), keypoints=Keypoints("coco17", points))) == (5, 8, 51, 30)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_landmarks_that_are_no_numbers_are_left_out(value: float):
    points = np.array([[value, 8.5, 0.9], [8.0, value, 0.9], [8.0, 8.0, value]])
    assert box_of(PriorMaps(mask=mask(20, 10, 30, 30), keypoints=Keypoints("coco17", points))) == (20, 10, 30, 30)


def test_nobody_has_no_box():
    assert box_of(PriorMaps()) is None
    assert box_of(PriorMaps(mask=np.full((4, 4), 0.5, np.float32))) is None
