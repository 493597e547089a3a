"""Prior maps read from a folder. Kinds: round trip, behaviour on absent maps and unknown frames."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.priors.recorded import RecordedPrior
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera, Frame

HEIGHT, WIDTH = 24, 32


@pytest.fixture
def folder(tmp_path) -> Path:
    """Masks of frames 0 to 2, geometry of frame 1; left half person."""
    for kind in ("mask", "depth", "normal", "label"):
        (tmp_path / kind).mkdir()
    person = np.zeros((HEIGHT, WIDTH), bool)
    person[:, : WIDTH // 2] = True
    for i in range(3):
        save(tmp_path / "mask", i, np.where(person, 255, 0).astype(np.uint8))
    save(tmp_path / "depth", 1, np.where(person, 30000, 0).astype(np.uint16))
    save(tmp_path / "normal", 1, np.where(person[..., None], [0, 127, 127], 0).astype(np.uint8))
    save(tmp_path / "label", 1, np.where(person, 22, 0).astype(np.uint8))
    np.savez(tmp_path / "params.npz", stamps=1 + np.arange(3) / 15)
    return tmp_path


def save(folder: Path, index: int, values: np.ndarray) -> None:
    assert cv2.imwrite(str(folder / f"{index:06d}.png"), values)


def frame(stamp_ns: int, width: int = WIDTH, height: int = HEIGHT) -> Frame:
    K = np.array([[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]])
    return Frame(stamp_ns, np.zeros((height, width, 3), np.uint8), Camera(K, width, height, T_CAMERA_WORLD_UNPOSED))


def test_all_maps_of_a_frame(folder):
    maps = RecordedPrior(folder, geometry_trust=0.5).predict(frame(1_066_666_667))
    assert maps.mask is not None and maps.depth is not None and maps.normal is not None and maps.labels is not None
    assert maps.mask[0, 0] == 1 and maps.mask[0, -1] == 0
    assert maps.depth[0, 0] == pytest.approx(3.0) and np.isnan(maps.depth[0, -1])
    np.testing.assert_allclose(maps.normal[0, 0], [0, 0, -1], atol=6e-3)  # 8 bits: half a step in x and y
    assert not maps.normal[0, -1].any()
    assert maps.labels[0, 0] == 22 and maps.label_set == "sapiens28" and maps.geometry_trust == 0.5
    assert maps.keypoints is None


def test_absent_maps_are_none(folder):
    maps = RecordedPrior(folder).predict(frame(1_000_000_000))
    assert maps.mask is not None
    assert maps.depth is None and maps.normal is None and maps.labels is None and maps.label_set is None


@pytest.mark.parametrize("stamp_ns", [0, 1_030_000_000, 1_001_100_000, 9_000_000_000])
def test_unknown_frames_have_no_maps(folder, stamp_ns: int):
    maps = RecordedPrior(folder).predict(frame(stamp_ns))
    assert maps.mask is None and maps.depth is None and maps.normal is None and maps.labels is None


def test_stamps_match_within_the_tolerance(folder):
    assert RecordedPrior(folder).index_of(1_000_900_000) == 0
    assert RecordedPrior(folder, tolerance_s=0.05).index_of(1_040_000_000) == 1


def test_a_stamps_file_goes_before_params(folder):
    (folder / "stamps_ns.txt").write_text("1700000000000000001\n1700000000000000002\n")
    prior = RecordedPrior(folder, tolerance_s=1e-10)
    # Float seconds could not tell these two apart.
    assert prior.index_of(1_700_000_000_000_000_001) == 0 and prior.index_of(1_700_000_000_000_000_002) == 1


@pytest.mark.parametrize("size", [(16, 12), (64, 48)])
def test_maps_follow_the_frames_size(folder, size):
    maps = RecordedPrior(folder).predict(frame(1_066_666_667, *size))
    assert maps.mask is not None and maps.depth is not None and maps.normal is not None and maps.labels is not None
    assert {m.shape[:2] for m in (maps.mask, maps.depth, maps.normal, maps.labels)} == {(size[1], size[0])}
    assert set(np.unique(maps.labels)) == {0, 22}, "labels are never mixed"
    assert np.isfinite(maps.depth).mean() == 0.5 and np.nanmax(maps.depth) == pytest.approx(3.0)


def test_folders_that_are_no_recording(tmp_path):
    with pytest.raises(ValueError, match=r"expected a folder of recorded maps with stamps_ns\.txt or params\.npz, got neither"):
        RecordedPrior(tmp_path)
    (tmp_path / "stamps_ns.txt").write_text("5\n4\n")
    with pytest.raises(ValueError, match=r"expected stamps that rise.*got \[5, 4\]"):
        RecordedPrior(tmp_path)


def test_maps_of_the_wrong_kind_are_refused(folder):
    save(folder / "depth", 1, np.zeros((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(ValueError, match=r"000001\.png: expected a map of uint16"):
        RecordedPrior(folder).predict(frame(1_066_666_667))
