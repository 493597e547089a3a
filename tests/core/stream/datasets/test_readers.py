"""The three dataset readers on folders written from the formats' formulas. Kinds: reprojection, splits, refusal.

Joints are projected twice: by the format's own formula with OpenCV's distortion-free camera, and by the reader's camera and
body state. Masks are compared with the reader's body drawn by the reader's camera.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import posed_joints
from fmgs_core.body.template import BodyModel
from fmgs_core.stream.datasets import DatasetSource, DatasetSplit, DatasetSubject, neuman, people_snapshot, zju_mocap

from .folders import (
    SIZE,
    K,
    neuman_camera,
    neuman_scene,
    snapshot_points,
    studio_camera,
    write_neuman,
    write_snapshot_prepared,
    write_snapshot_published,
    write_zju,
    zju_world,
)
from .people import Performance, drawn_mask, iou

PIXEL = 1e-2  # body states are float32: 1e-6 m at 3 m and 150 px is 5e-5 px, and axis-angle adds a few of those
# A body of boxes drawn at 64 x 68 pixels: half a pixel of rounding along the outline is about a tenth of its area.
MIN_IOU = 0.8
SNAPSHOT = {"train": (0, 6, 2), "test": (5, 9, 3)}


def pixels(points_camera: np.ndarray, scale: float) -> np.ndarray:
    """By the calibration's own K, whose first pixel is at 0; then in the reader's pixels."""
    homogeneous = points_camera @ K.T
    return (homogeneous[:, :2] / homogeneous[:, 2:] + 0.5) * scale


def check(body: BodyModel, split: DatasetSplit, index: int, joints_camera: np.ndarray, scale: float) -> None:
    shot = split.shots[index]
    found = shot.camera.project(posed_joints(body, shot.state))
    np.testing.assert_allclose(found, pixels(joints_camera, scale), atol=PIXEL)
    assert (shot.camera.width, shot.camera.height) == (round(SIZE[0] * scale), round(SIZE[1] * scale))
    mask = split.mask(index) > 0.5
    assert iou(mask, drawn_mask(body, shot.state, shot.camera)) > MIN_IOU
    rgb = split.frame(index).rgb
    assert not rgb[~mask].any() and rgb[mask].min() > 10  # the person over black; the wall is gone


# -- ZJU-MoCap


@pytest.fixture
def zju(tmp_path: Path, smpl_path: Path) -> tuple[Path, Performance]:
    return tmp_path, write_zju(tmp_path, smpl_path)


def test_zju_reprojects(zju: tuple[Path, Performance], smpl: BodyModel):
    root, performance = zju
    subject = zju_mocap.load_subject(root, "392", smpl)
    for i in range(3):
        R, T = studio_camera(0)
        check(smpl, subject.train, i, zju_world(smpl, performance, i)[1] @ R.T + T, 0.5)
    for k in range(2):
        R, T = studio_camera(k + 1)
        check(smpl, subject.test, k, zju_world(smpl, performance, 0)[1] @ R.T + T, 0.5)


def test_zju_world_has_y_up(zju: tuple[Path, Performance], smpl: BodyModel):
    joints = posed_joints(smpl, zju_mocap.load_subject(zju[0], "392", smpl).train.states[0])
    assert joints[15, 1] - joints[0, 1] > 0.4  # head over pelvis


def test_zju_split_is_camera_1_against_every_30th_frame_of_the_others(tmp_path: Path, smpl_path: Path, smpl: BodyModel):
    write_zju(tmp_path, smpl_path, frames=31, cameras=3)
    subject = zju_mocap.load_subject(tmp_path, "392", smpl)
    assert len(subject.train) == 31 and len(subject.test) == 4
    train = subject.train.stamps_ns
    np.testing.assert_array_equal(subject.test.stamps_ns, train[[0, 0, 30, 30]])
    assert len({tuple(c.T_camera_world.ravel()) for c in subject.train.cameras}) == 1
    assert len({tuple(c.T_camera_world.ravel()) for c in subject.test.cameras}) == 2


def test_zju_with_fewer_frames_than_the_split_is_refused(tmp_path: Path, smpl_path: Path, smpl: BodyModel):
    write_zju(tmp_path, smpl_path, subject="377", frames=2)
    with pytest.raises(ValueError, match=r"annots\.npy: expected at least 570 frames, as the split has, got 2"):
        zju_mocap.load_subject(tmp_path, "377", smpl)


@pytest.mark.parametrize(
    "missing",
    ["annots.npy", "new_params/1.npy", "Camera_B1/000002.jpg", "Camera_B3/000000.jpg", "mask_cihp/Camera_B2/000000.png"],
)
def test_zju_names_what_is_missing(zju: tuple[Path, Performance], smpl: BodyModel, missing: str):
    (zju[0] / "CoreView_392" / missing).unlink()
    with pytest.raises(ValueError, match=rf"{missing}: expected .*, got nothing by that name"):
        zju_mocap.load_subject(zju[0], "392", smpl)


def test_zju_mask_of_another_size_is_refused_when_it_is_read(zju: tuple[Path, Performance], smpl: BodyModel):
    path = zju[0] / "CoreView_392" / "mask_cihp" / "Camera_B1" / "000001.png"
    shutil.copy(path.with_name("000000.png"), path)
    path.write_bytes(path.read_bytes()[:40])
    split = zju_mocap.load_subject(zju[0], "392", smpl).train
    with pytest.raises(ValueError, match=r"000001\.png: expected a mask of the picture's 128 x 136 pixels"):
        split.frame(1)


# -- PeopleSnapshot


@pytest.fixture
def short_splits(monkeypatch: pytest.MonkeyPatch) -> dict[str, range]:
    monkeypatch.setitem(people_snapshot.FRAMES, "male-3-casual", SNAPSHOT)
    return {split: range(*frames) for split, frames in SNAPSHOT.items()}


def _check_snapshot(body: BodyModel, subject: DatasetSubject, performance: Performance, splits: dict[str, range]) -> None:
    for split, frames in ((subject.train, splits["train"]), (subject.test, splits["test"])):
        assert len(split) == len(frames)
        for k, i in enumerate(frames):
            check(body, split, k, snapshot_points(body, performance, i)[1], 0.5)
    joints = posed_joints(body, subject.train.states[0])
    assert joints[15, 1] - joints[0, 1] > 0.4  # y is up


@pytest.mark.parametrize("refined", [True, False])
def test_prepared_snapshot_reprojects(tmp_path: Path, smpl_path: Path, smpl: BodyModel, short_splits: dict, refined: bool):
    performance = write_snapshot_prepared(tmp_path, smpl_path, "male-3-casual", 9, short_splits if refined else None)
    subject = people_snapshot.load_subject(tmp_path, "male-3-casual", smpl)
    _check_snapshot(smpl, subject, performance, short_splits)
    assert bool(subject.notes) is not refined


def test_published_snapshot_reprojects(tmp_path: Path, smpl_path: Path, smpl: BodyModel, short_splits: dict):
    pytest.importorskip("h5py", reason="pip install fmgs_ros[datasets]")
    performance = write_snapshot_published(tmp_path, smpl_path, "male-3-casual", 9)
    subject = people_snapshot.load_subject(tmp_path, "male-3-casual", smpl)
    _check_snapshot(smpl, subject, performance, short_splits)
    assert "Anim-NeRF" in subject.notes[0]


@pytest.mark.parametrize("subject", people_snapshot.FRAMES)
def test_snapshot_splits_do_not_overlap_but_where_the_peers_do(subject: str):
    """Counts are the rows of the peers' own pose files (tijiang13/InstantAvatar, data/PeopleSnapshot/*/poses)."""
    train, test = (range(*people_snapshot.FRAMES[subject][split]) for split in ("train", "test"))
    counts = {"male-3-casual": (114, 55), "male-4-casual": (110, 36), "female-3-casual": (112, 51), "female-4-casual": (84, 48)}
    assert (len(train), len(test)) == counts[subject]
    assert not set(train) & set(test)


@pytest.mark.parametrize("missing", ["images/image_0005.png", "masks/mask_0002.npy"])
def test_prepared_snapshot_names_what_is_missing(
    tmp_path: Path, smpl_path: Path, smpl: BodyModel, short_splits: dict, missing: str
):
    write_snapshot_prepared(tmp_path, smpl_path, "male-3-casual", 9, short_splits)
    (tmp_path / "male-3-casual" / missing).unlink()
    subject = people_snapshot.load_subject(tmp_path, "male-3-casual", smpl)
    with pytest.raises(ValueError, match=f"{missing}: expected the .* of frame"):
        for split in (subject.train, subject.test):
            for i in range(len(split)):
                split.frame(i)


@pytest.mark.parametrize("missing", ["camera.pkl", "masks.hdf5", "male-3-casual.mp4", "reconstructed_poses.hdf5"])
def test_published_snapshot_names_what_is_missing(
    tmp_path: Path, smpl_path: Path, smpl: BodyModel, short_splits: dict, missing: str
):
    pytest.importorskip("h5py", reason="pip install fmgs_ros[datasets]")
    write_snapshot_published(tmp_path, smpl_path, "male-3-casual", 9)
    (tmp_path / "male-3-casual" / missing).unlink()
    with pytest.raises(ValueError, match=f"{missing}: expected .*, got nothing by that name"):
        people_snapshot.load_subject(tmp_path, "male-3-casual", smpl)


def test_snapshot_poses_of_another_count_are_refused(tmp_path: Path, smpl_path: Path, smpl: BodyModel, short_splits: dict):
    write_snapshot_prepared(tmp_path, smpl_path, "male-3-casual", 9, {**short_splits, "test": range(5, 6)})
    with pytest.raises(ValueError, match=r"anim_nerf_test\.npz: pose: expected numbers of shape \(2, 24, 3\)"):
        people_snapshot.load_subject(tmp_path, "male-3-casual", smpl)


# -- NeuMan


@pytest.mark.parametrize("binary", [False, True])
def test_neuman_reprojects(tmp_path: Path, smpl_path: Path, smpl: BodyModel, binary: bool):
    performance = write_neuman(tmp_path, smpl_path, binary=binary)
    subject = neuman.load_subject(tmp_path, "seattle", smpl)
    chosen = neuman.split_indices(10)
    for split, indices in ((subject.train, chosen["train"]), (subject.test, chosen["test"])):
        for k, i in enumerate(indices):
            R, t = neuman_camera(i)
            check(smpl, split, k, neuman_scene(smpl, performance, i)[1] @ R.T + t, 1.0)
    distance = np.linalg.norm(posed_joints(smpl, subject.train.states[0])[0])  # the first camera is at the origin
    assert 2.5 < distance < 4  # metres, not scene units
    joints = posed_joints(smpl, subject.train.states[0])
    assert joints[15, 1] - joints[0, 1] > 0.4  # y is up, as far as the first camera is level


def test_neuman_masks_of_the_first_release_have_the_person_black(tmp_path: Path, smpl_path: Path, smpl: BodyModel):
    write_neuman(tmp_path, smpl_path)
    before = neuman.load_subject(tmp_path, "seattle", smpl).train.mask(0)
    folder = tmp_path / "seattle"
    (folder / "segmentations").mkdir()
    for i, path in enumerate(sorted((folder / "4d_humans" / "sam_segmentations").glob("*.png"))):
        cv2.imwrite(str(folder / "segmentations" / f"{i:05d}.png"), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        path.unlink()
    np.testing.assert_array_equal(neuman.load_subject(tmp_path, "seattle", smpl).train.mask(0), before)


def test_neuman_split_is_that_of_its_authors():
    """By hand from create_split_files: 41 pictures, 8 to hold out, every fifth from the third on; half of them tested."""
    chosen = neuman.split_indices(41)
    assert chosen["test"] == [2, 7, 12, 17]
    assert len(chosen["train"]) == 33 and not set(chosen["train"]) & {2, 7, 12, 17, 22, 27, 32, 37}
    with pytest.raises(ValueError, match="at least 10 pictures"):
        neuman.split_indices(9)


@pytest.mark.parametrize(
    "missing",
    ["sparse/cameras.txt", "sparse/images.txt", "images/00003.png", "4d_humans/smpl_optimized_aligned_scale.npz"],
)
def test_neuman_names_what_is_missing(tmp_path: Path, smpl_path: Path, smpl: BodyModel, missing: str):
    write_neuman(tmp_path, smpl_path)
    (tmp_path / "seattle" / missing).unlink()
    with pytest.raises(ValueError, match=f"{missing}: expected"):
        neuman.load_subject(tmp_path, "seattle", smpl)


def test_neuman_masks_must_be_as_many_as_pictures(tmp_path: Path, smpl_path: Path, smpl: BodyModel):
    write_neuman(tmp_path, smpl_path)
    (tmp_path / "seattle" / "4d_humans" / "sam_segmentations" / "mask_0004.png").unlink()
    with pytest.raises(ValueError, match="expected one mask for each of 10 pictures, got 9"):
        neuman.load_subject(tmp_path, "seattle", smpl)


@pytest.mark.parametrize("content", ["1 PINHOLE 4 4 1 1 2", "1 FISHEYE 4 4 1 1 2 2", "x y z", "1 PINHOLE 4 4 a b c d"])
def test_damaged_colmap_cameras_are_refused(tmp_path: Path, smpl_path: Path, smpl: BodyModel, content: str):
    write_neuman(tmp_path, smpl_path)
    (tmp_path / "seattle" / "sparse" / "cameras.txt").write_text(content)
    with pytest.raises(ValueError, match=r"cameras\.txt: expected a COLMAP file"):
        neuman.load_subject(tmp_path, "seattle", smpl)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
@pytest.mark.parametrize("length", [0, 5, 30])
def test_cut_binary_colmap_files_are_refused(tmp_path: Path, smpl_path: Path, smpl: BodyModel, name: str, length: int):
    write_neuman(tmp_path, smpl_path, binary=True)
    path = tmp_path / "seattle" / "sparse" / name
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=f"{name}: expected a COLMAP file"):
        neuman.load_subject(tmp_path, "seattle", smpl)


# -- all of them


LOADERS: list[tuple[Callable, str, str]] = [
    (zju_mocap.load_subject, "392", "CoreView_392"),
    (people_snapshot.load_subject, "male-4-casual", "male-4-casual"),
    (neuman.load_subject, "lab", "lab"),
]


@pytest.mark.parametrize(("load", "subject", "folder"), LOADERS)
def test_a_missing_subject_is_named(tmp_path: Path, smpl: BodyModel, load: Callable, subject: str, folder: str):
    with pytest.raises(ValueError, match=f"{folder}: expected the folder of "):
        load(tmp_path, subject, smpl)


def test_a_body_that_is_not_smpl_is_refused(zju: tuple[Path, Performance]):
    with pytest.raises(ValueError, match=r"expected a SMPL model of 24 joints .* got 'default' with 55"):
        zju_mocap.load_subject(zju[0], "392", default_body())


def test_the_source_gives_every_frame_once(zju: tuple[Path, Performance], smpl: BodyModel):
    split = zju_mocap.load_subject(zju[0], "392", smpl).train
    with DatasetSource(split) as source:
        assert (source.length, source.live, source.camera_is_estimated) == (3, False, False)
        stamps = []
        while (frame := source.read()) is not None:
            stamps.append(frame.stamp_ns)
    assert stamps == split.stamps_ns.tolist()
