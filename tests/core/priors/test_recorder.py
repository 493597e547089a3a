"""Maps onto disk and back. Kinds: round trip, behaviour when broken off, refusal."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmgs_core.priors import recorder as recorder_module
from fmgs_core.priors.recorded import RecordedPrior
from fmgs_core.priors.recorder import DEPTH_RANGE_M, Recipe, Recorder, stretched
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Frame, Keypoints, PriorMaps

HEIGHT, WIDTH = 24, 32
RECIPE = Recipe("clip.mp4", 2, {"tiny-normal": "ab12", "tiny-depth": "cd34"})
STAMPS = [1_000_000_007, 1_133_333_340, 1_266_666_673]


def frame(stamp_ns: int, scale: int = 1) -> Frame:
    width, height = WIDTH * scale, HEIGHT * scale
    K = np.array([[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]])
    return Frame(stamp_ns, np.zeros((height, width, 3), np.uint8), Camera(K, width, height, T_CAMERA_WORLD_UNPOSED))


def maps(seed: int, points_3d: bool = True) -> PriorMaps:
    """Everything, unknown in the left half."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    depth = rng.normal(-3, 100, (HEIGHT, WIDTH)).astype(np.float32)
    labels = rng.integers(0, 28, (HEIGHT, WIDTH)).astype(np.uint8)
    mask = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.float32) / 255
    normal[:, :16], depth[:, :16], labels[:, :16] = 0, np.nan, 255
    points = rng.random((308, 3)) * (WIDTH, HEIGHT, 1)
    keypoints = Keypoints("sapiens308", points, rng.normal(size=(308, 3)) if points_3d else None)
    return PriorMaps(mask, keypoints, None, normal, depth, labels, "sapiens28")


def recorded(folder: Path, count: int = 3) -> Recorder:
    recorder = Recorder(folder, RECIPE)
    for k, stamp in enumerate(STAMPS[:count]):
        if not recorder.has(k, stamp):
            recorder.add(stamp, maps(k))
    return recorder


def test_everything_comes_back_within_what_the_format_holds(tmp_path: Path):
    recorded(tmp_path)
    for k, stamp in enumerate(STAMPS):
        written, read = maps(k), RecordedPrior(tmp_path).predict(frame(stamp))
        np.testing.assert_array_equal(read.mask, written.mask)
        np.testing.assert_array_equal(read.labels, written.labels)
        known = np.isfinite(written.depth)
        np.testing.assert_allclose(read.normal[known], written.normal[known], atol=0.012)  # 8 bits: 0.004 before unit length
        assert not read.normal[~known].any() and np.isnan(read.depth[~known]).all()
        np.testing.assert_allclose(read.keypoints.points, written.keypoints.points, atol=5e-4)
        np.testing.assert_allclose(read.keypoints.points_3d, written.keypoints.points_3d, atol=5e-5)
        assert read.keypoints.layout == "sapiens308" and read.label_set == "sapiens28"


def test_depth_keeps_its_order_and_its_shape_up_to_scale_and_offset(tmp_path: Path):
    """Steps of 0.1 mm in 6 m: every difference of more than a 60,000th of the range stays one."""
    recorded(tmp_path, 1)
    written, read = maps(0).depth, RecordedPrior(tmp_path).predict(frame(STAMPS[0])).depth
    known = np.isfinite(written)
    assert (read[known].min(), read[known].max()) == pytest.approx(DEPTH_RANGE_M, abs=1e-4)
    factor, offset = np.polyfit(written[known], read[known], 1)
    assert factor > 0
    np.testing.assert_allclose(read[known], factor * written[known] + offset, atol=1e-4)


@pytest.mark.parametrize("values", [[], [2.0], [3.0, 3.0], [-1e9, 1e9]])
def test_any_depth_fits_the_format(values: list[float]):
    depth = np.full((2, 2), np.nan, np.float32)
    depth.ravel()[: len(values)] = values
    out = stretched(depth)
    assert (np.isfinite(out) == np.isfinite(depth)).all()
    assert all(DEPTH_RANGE_M[0] <= v <= DEPTH_RANGE_M[1] for v in out[np.isfinite(out)])


def test_absent_maps_stay_absent_and_nobody_is_a_frame_too(tmp_path: Path):
    recorder = Recorder(tmp_path, RECIPE)
    recorder.add(STAMPS[0], PriorMaps())
    recorder.add(STAMPS[1], replace(maps(1, points_3d=False), depth=None))
    prior = RecordedPrior(tmp_path)
    assert prior.predict(frame(STAMPS[0])) == PriorMaps()
    read = prior.predict(frame(STAMPS[1]))
    assert read.depth is None and read.normal is not None and read.keypoints.points_3d is None


def test_landmarks_follow_a_frame_of_another_size(tmp_path: Path):
    recorded(tmp_path, 1)
    read = RecordedPrior(tmp_path).predict(frame(STAMPS[0], scale=2))
    np.testing.assert_allclose(read.keypoints.points[:, :2], 2 * maps(0).keypoints.points[:, :2], atol=2e-3)
    np.testing.assert_allclose(read.keypoints.points[:, 2], maps(0).keypoints.points[:, 2], atol=1e-3)


# -- broken off


def test_a_frame_that_was_broken_off_is_not_there_and_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed between a frame's files and its stamp, for another frame than comes next time: nothing of it stays."""
    recorder = recorded(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(recorder_module, "replacing", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recorder.add(STAMPS[1], maps(1))
    assert (tmp_path / "depth" / "000001.png").is_file()
    assert RecordedPrior(tmp_path).predict(frame(STAMPS[1])) == PriorMaps()
    again = Recorder(tmp_path, RECIPE)
    assert again.stamps_ns == STAMPS[:1] and again.has(0, STAMPS[0]) and not again.has(1, STAMPS[1])
    again.add(STAMPS[1], PriorMaps(mask=maps(1).mask))
    assert RecordedPrior(tmp_path).predict(frame(STAMPS[1])).depth is None


def test_a_run_in_two_halves_leaves_what_one_run_leaves(tmp_path: Path):
    recorded(tmp_path / "whole")
    recorded(tmp_path / "halves", 2)
    recorded(tmp_path / "halves")
    files = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").rglob("*") if p.is_file()}
    assert files == {
        p.relative_to(tmp_path / "halves"): p.read_bytes() for p in (tmp_path / "halves").rglob("*") if p.is_file()
    }
    assert len(files) == 3 * 5 + 2


# -- refusals


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"source": "other.mp4"}, "source 'clip.mp4' as it was begun with, got 'other.mp4'"),
        ({"every": 1}, "every 2 as it was begun with, got 1"),
        (
            {"models": {"tiny-normal": "ffff", "tiny-depth": "cd34"}},
            r"models tiny-normal \(ab12\), tiny-depth \(cd34\) as it was begun with, got tiny-normal \(ffff\)",
        ),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused_with_the_reason(tmp_path: Path, change: dict, named: str):
    recorded(tmp_path, 1)
    with pytest.raises(ValueError, match=f"expected {named}.*; give another folder"):
        Recorder(tmp_path, replace(RECIPE, **change))


def test_a_recording_with_other_times_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"whose frame 0 is of 1000000007 ns, got one of 5 ns"):
        recorded(tmp_path, 1).has(0, 5)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected an empty folder or one of recorded maps, got one with holiday\.jpg"):
        Recorder(tmp_path, RECIPE)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.jpg"]


def test_the_file_of_what_it_is_says_it(tmp_path: Path):
    recorded(tmp_path, 1)
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["models"] == RECIPE.models and meta["source"] == "clip.mp4" and meta["every"] == 2
    assert "relative" in meta["conventions"]["depth"]


def test_bad_frames_are_refused(tmp_path: Path):
    recorder = recorded(tmp_path, 2)
    with pytest.raises(ValueError, match="expected a stamp after"):
        recorder.add(STAMPS[1], maps(1))
    with pytest.raises(ValueError, match=r"label_set: expected sapiens28 on disk, got 'atr18'"):
        recorder.add(STAMPS[2], replace(maps(2), label_set="atr18"))
    with pytest.raises(ValueError, match="every: expected at least 1, got 0"):
        Recipe("a", 0, {})


def test_broken_landmarks_are_refused_by_their_file(tmp_path: Path):
    recorded(tmp_path, 1)
    (tmp_path / "keypoints" / "000000.json").write_text('{"layout": "coco17", "points": [[1, 2]], "points_3d": null}')
    with pytest.raises(ValueError, match=r"000000\.json: expected layout, points \(n x 3\)"):
        RecordedPrior(tmp_path).predict(frame(STAMPS[0]))
