"""Named landmark lists. Kinds: properties, closed forms from the published lists, refusals."""

import numpy as np
import pytest

from fmgs_core.keypoints import LAYOUTS, SAME_POINT, layout_of, with_depth_of
from fmgs_core.types import Keypoints

COCO17 = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_each_row_is_one_point_and_each_side_has_its_other(layout):
    assert set(layout.rows) >= set(COCO17)
    assert len(set(layout.rows.values())) == len(layout.rows) and max(layout.rows.values()) < layout.count
    for name in layout.rows:
        other = name.replace("left_", "right_") if name.startswith("left_") else name.replace("right_", "left_")
        assert other in layout.rows


def test_rows_are_those_of_the_published_lists():
    coco, whole, sapiens, mediapipe = (
        LAYOUTS[name].rows for name in ("coco17", "coco_wholebody133", "sapiens308", "mediapipe33")
    )
    assert [coco[name] for name in COCO17] == [whole[name] for name in COCO17] == list(range(17))
    assert [sapiens[name] for name in COCO17] == [*range(9), 62, 41, *range(9, 15)]
    feet = [side + name for side in ("left_", "right_") for name in ("toe", "small_toe", "heel")]
    assert [whole[name] for name in feet] == list(range(17, 23)) and [sapiens[name] for name in feet] == list(range(15, 21))
    hands = ["left_index", "left_pinky", "right_index", "right_pinky"]
    assert [whole[name] for name in hands] == [96, 108, 117, 129]
    assert [sapiens[name] for name in hands] == [49, 61, 28, 40]
    assert [mediapipe[name] for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")] == [0, 2, 5, 7, 8]
    assert [mediapipe[name] for name in hands] == [19, 17, 20, 18]
    assert [mediapipe[name] for name in ("left_hip", "right_knee", "left_heel", "right_toe")] == [23, 26, 29, 32]


def test_unknown_layouts_and_wrong_sizes_are_refused_by_name():
    with pytest.raises(ValueError, match=r"keypoints.layout: expected one of \['coco17'.*'sapiens308'\], got 'halpe26'"):
        layout_of(Keypoints("halpe26", np.zeros((26, 3))))
    with pytest.raises(ValueError, match=r"keypoints.points: expected \(17, 3\) in layout 'coco17', got \(33, 3\)"):
        layout_of(Keypoints("coco17", np.zeros((33, 3))))
    with pytest.raises(ValueError, match=r"keypoints.points_3d: expected \(33, 3\).*got \(17, 3\)"):
        layout_of(Keypoints("mediapipe33", np.zeros((33, 3)), np.zeros((17, 3))))


def detected() -> tuple[Keypoints, Keypoints]:
    """The same person by coco17 and by MediaPipe, who knows depths."""
    rng = np.random.default_rng(0)
    better = Keypoints("coco17", np.c_[rng.uniform(0, 400, (17, 2)), np.ones(17)])
    rows = LAYOUTS["mediapipe33"].rows
    donor = Keypoints("mediapipe33", np.zeros((33, 3)), rng.standard_normal((33, 3)))
    for name, row in LAYOUTS["coco17"].rows.items():
        donor.points[rows[name]] = better.points[row]
    return better, donor


def test_depth_comes_by_name_and_the_picture_stays():
    better, donor = detected()
    joined = with_depth_of(better, donor)
    assert joined.layout == "coco17" and joined.points is better.points
    assert joined.points_3d is not None and donor.points_3d is not None
    for name, row in LAYOUTS["coco17"].rows.items():
        np.testing.assert_array_equal(joined.points_3d[row], donor.points_3d[LAYOUTS["mediapipe33"].rows[name]])


def test_who_sees_a_point_elsewhere_gives_it_no_depth():
    better, donor = detected()
    rows = LAYOUTS["mediapipe33"].rows
    named = donor.points[list(rows[name] for name in COCO17), :2]
    extent = np.linalg.norm(np.ptp(named, axis=0))
    wrists, knees = ([rows[f"{side}_{name}"] for side in ("left", "right")] for name in ("wrist", "knee"))
    donor.points[wrists] = donor.points[wrists[::-1]]  # flipped
    donor.points[knees[0], 0] += 0.9 * SAME_POINT * extent
    better.points[LAYOUTS["coco17"].rows["left_hip"]] = np.nan
    joined = with_depth_of(better, donor).points_3d
    assert joined is not None
    unknown = {name for name, row in LAYOUTS["coco17"].rows.items() if np.isnan(joined[row]).any()}
    assert unknown == {"left_wrist", "right_wrist", "left_hip"}


def test_own_depth_stays_and_none_is_made_up():
    better, donor = detected()
    flat = Keypoints(donor.layout, donor.points)
    assert with_depth_of(better, flat) is better and with_depth_of(donor, donor) is donor
