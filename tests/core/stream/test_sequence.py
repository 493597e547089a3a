"""Sequences of the format avatar_gt/1. Kinds: round trip on one that the test writes, behaviour, parity with the shared one."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.stream import SourceConfig, open_source
from fmgs_core.stream.sequence import Sequence, SequenceSource

COUNT, SIZE = 4, (24, 32)
K = np.array([[40.0, 0, 16.3], [0, 40, 12.1], [0, 0, 1]])


@pytest.fixture
def sequence(tmp_path, make) -> Path:
    """Two splits of four frames; geometry for the even ones; test_view seen by two cameras."""
    root = tmp_path / "person"
    for split in ("train", "test_view"):
        for kind in ("rgb", "mask", "depth", "normal", "label"):
            (root / split / kind).mkdir(parents=True)
        for i in range(COUNT):
            write_frame(root / split, i, make.gradient(*SIZE, i))
        T = np.eye(4) if split == "train" else np.stack([np.diag([1, -1, -1, 1.0])] * COUNT)
        views = {} if split == "train" else {"train_index": np.array([0, 2, 0, 2]), "camera_index": np.array([0, 0, 1, 1])}
        stamps = 1 + np.arange(COUNT) / 15 if split == "train" else np.array([1, 2, 1, 2.0])
        pose = np.full((COUNT, 55, 3), 0.1, np.float32) * np.arange(COUNT, dtype=np.float32)[:, None, None]
        body = {"pose": pose, "betas": np.arange(16.0), "transl": np.zeros((COUNT, 3), np.float32)}
        np.savez(root / split / "params.npz", K=K, T_camera_world=T, stamps=stamps, **body, **views)
    meta = {"format": "avatar_gt/1", "name": "person", "width": SIZE[1], "height": SIZE[0], "fps": 15.0}
    (root / "meta.json").write_text(json.dumps(meta | {"splits": {"train": {}, "test_view": {}}}))
    return root


def write_frame(folder: Path, index: int, rgb: np.ndarray) -> None:
    def save(kind: str, values: np.ndarray) -> None:
        assert cv2.imwrite(str(folder / kind / f"{index:06d}.png"), values)

    person = np.zeros(SIZE, bool)
    person[8:16, 10:20] = True
    save("rgb", rgb[..., ::-1])
    save("mask", np.where(person, 255, 51).astype(np.uint8))
    if index % 2 == 0:
        save("depth", np.where(person, 23456, 0).astype(np.uint16))
        # RGB of a normal (0, 0.6, -0.8) is 128, 204, 26; OpenCV writes BGR.
        save("normal", np.where(person[..., None], [26, 204, 128], 0).astype(np.uint8))
        save("label", np.where(person, 22, 0).astype(np.uint8))


def test_frames_and_true_camera(sequence, make, warnings):
    source = open_source(sequence, on_warning=warnings.append)
    assert (source.name, source.length, source.fps) == ("person/train", COUNT, 15)
    assert not source.live and not source.camera_is_estimated
    frames = make.read_all(source)
    np.testing.assert_array_equal([f.rgb for f in frames], [make.gradient(*SIZE, i) for i in range(COUNT)])
    assert [f.stamp_ns for f in frames] == [1_000_000_000, 1_066_666_667, 1_133_333_333, 1_200_000_000]
    np.testing.assert_array_equal(frames[0].camera.K, K)
    np.testing.assert_array_equal(frames[0].camera.T_camera_world, np.eye(4))
    assert warnings == []


def test_a_split_folder_is_a_source_too(sequence, make):
    frames = make.read_all(open_source(sequence / "test_view"))
    assert [f.stamp_ns for f in frames] == [1_000_000_000, 2_000_000_000, 1_000_000_000, 2_000_000_000], "none is left out"
    np.testing.assert_array_equal(frames[0].camera.T_camera_world, np.diag([1, -1, -1, 1]))


def test_shrinking_takes_the_true_camera_along(sequence, make):
    frame = make.read_all(SequenceSource(sequence, config=SourceConfig(max_side_px=16)))[0]
    assert frame.rgb.shape == (12, 16, 3)
    np.testing.assert_allclose(frame.camera.K[:2, 2], [8.15, 6.05])


def test_maps_and_states(sequence):
    split = Sequence(sequence).split("train")
    assert len(split) == COUNT and split.train_index is None and split.background() is None
    np.testing.assert_allclose(split.states[3].pose, 0.3, rtol=1e-6)
    np.testing.assert_array_equal(split.states[3].betas, np.arange(16))
    assert split.mask(0)[8, 10] == 1 and split.mask(0)[0, 0] == pytest.approx(0.2)
    assert split.depth(0)[8, 10] == pytest.approx(2.3456) and np.isnan(split.depth(0)[0, 0])
    stored = (np.array([128, 204, 26]) - 127.5) / 127.5
    np.testing.assert_allclose(split.normal(0)[8, 10], stored / np.linalg.norm(stored), atol=1e-6)  # float32
    assert np.linalg.norm(split.normal(0)[8, 10]) == pytest.approx(1) and not split.normal(0)[0, 0].any()
    assert split.labels(0)[8, 10] == 22
    assert split.has_geometry(0) and not split.has_geometry(1)
    maps = split.maps(1)
    assert maps.depth is None and maps.normal is None and maps.labels is None and maps.label_set is None
    assert maps.mask is not None and split.maps(2).label_set == "sapiens28"
    np.testing.assert_array_equal(Sequence(sequence).split("test_view").camera_index, [0, 0, 1, 1])


def test_a_given_focal_length_is_not_used(sequence, warnings):
    SequenceSource(sequence, config=SourceConfig(focal_px=9.0), on_warning=warnings.append).close()
    assert len(warnings) == 1 and "focal_px=9 is not used" in warnings[0]


def test_broken_sequences(sequence):
    with pytest.raises(ValueError, match="expected a split of train, test_view, got 'test_pose'"):
        Sequence(sequence).split("test_pose")
    (sequence / "train/rgb/000002.png").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"000002\.png: expected a picture, got 3 bytes"):
        list(iter(open_source(sequence).read, None))
    (sequence / "train/depth/000000.png").write_bytes((sequence / "train/mask/000000.png").read_bytes())
    with pytest.raises(ValueError, match=r"depth.000000\.png: expected a map of uint16 with 1 channel.*got uint8"):
        Sequence(sequence).split("train").depth(0)
    (sequence / "train/params.npz").unlink()
    with pytest.raises(ValueError, match=r"train: expected a params\.npz, got none"):
        open_source(sequence)
    (sequence / "meta.json").write_text('{"format": "other/2"}')
    with pytest.raises(ValueError, match="expected format 'avatar_gt/1', got 'other/2'"):
        open_source(sequence)
    (sequence / "meta.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        open_source(sequence)


def test_the_shared_sequence(shared):
    sequence = Sequence(shared / "gt/dressed_a")
    assert sequence.splits == ("train", "test_view", "test_pose")
    view, train = sequence.split("test_view"), sequence.split("train")
    assert [len(sequence.split(s)) for s in sequence.splits] == [100, 24, 16]
    for i in (0, 5, 23):
        np.testing.assert_array_equal(view.states[i].pose, train.states[view.train_index[i]].pose)
    seen = np.isfinite(view.depth(3))
    assert ((view.labels(3) > 0) == seen).mean() > 0.99 and (view.normal(3)[seen][:, 2] < 0).all()
    assert train.background().shape == (512, 512, 3) and view.background() is None
