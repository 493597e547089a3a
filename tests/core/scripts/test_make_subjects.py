"""Sequences of our own making. Kinds: parity of their files with the body model and the mesh, properties, determinism."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from fmgs_core.body.default import default_body
from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.evaluation.mesh_distance import distance_to_mesh
from fmgs_core.stream.sequence import Sequence, SequenceSplit

SPLITS = {"train": 6, "test_view": 4, "test_pose": 2}
FRAMES = [("train", 0), ("train", 5), ("test_view", 0), ("test_view", 3), ("test_pose", 0), ("test_pose", 1)]


@pytest.fixture(scope="module")
def sequence(tiny: Path) -> Sequence:
    return Sequence(tiny)


@pytest.fixture(scope="module")
def posed(make_subjects: ModuleType, sequence: Sequence) -> Callable[[SequenceSplit, int], np.ndarray]:
    """World vertices of the dressed mesh of a frame, by the parameters on disk."""
    subject = next(s for s in make_subjects.SUBJECTS if s.name == sequence.name)
    person, mover = subject.dress(subject.betas), make_subjects._Mover(subject)

    def vertices(split: SequenceSplit, i: int) -> np.ndarray:
        return mover.vertices(person, split.states[i].pose, split.states[i].transl)

    return vertices


@pytest.fixture(scope="module")
def canonical(tiny: Path) -> trimesh.Trimesh:
    mesh = trimesh.load(tiny / "canonical.ply", process=False)
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def test_it_is_complete(sequence: Sequence):
    assert {name: len(sequence.split(name)) for name in sequence.splits} == SPLITS
    for name in SPLITS:
        split = sequence.split(name)
        for i in range(len(split)):
            assert split.frame(i).rgb.shape == (96, 96, 3) and split.mask(i).shape == (96, 96)
            assert split.has_geometry(i) == (name != "train" or i % 5 == 0)
    train, view = sequence.split("train"), sequence.split("test_view")
    assert view.train_index is not None and view.camera_index is not None
    assert view.train_index.tolist() == [0, 3, 0, 3] and view.camera_index.tolist() == [0, 0, 1, 1]
    for i, k in enumerate(view.train_index):
        np.testing.assert_array_equal(view.states[i].pose, train.states[k].pose)
        assert view.stamps_ns[i] == train.stamps_ns[k]


def test_the_skin_stands_where_the_body_model_puts_it(sequence, posed, make_subjects):
    """The package's own skinning on the parameters on disk; cut triangles have corners that the template lacks."""
    skin = make_subjects.SUBJECTS[0].dress(make_subjects.SUBJECTS[0].betas)
    count = int(skin.mesh.faces[skin.piece_of_face == 0].max()) + 1
    for name, i in FRAMES:
        split = sequence.split(name)
        distance, _ = KDTree(posed_vertices(default_body(), split.states[i])).query(posed(split, i)[:count])
        # float32 on one side: 1e-6 of 2 m.
        assert np.median(distance) < 5e-6 and (distance < 1e-5).mean() > 0.9


def test_the_person_stands_on_the_floor(sequence, posed):
    for name, i in FRAMES:
        assert abs(posed(sequence.split(name), i)[:, 1].min()) < 1e-5


def test_the_mask_has_the_outline_of_the_projected_vertices(sequence, posed, canonical):
    for name, i in FRAMES:
        split = sequence.split(name)
        pixels = split.cameras[i].project(posed(split, i))
        assert len(pixels) == len(canonical.vertices)
        inside = cv2.dilate((split.mask(i) > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
        shown = pixels[((pixels >= 0) & (pixels < 96)).all(1)].astype(int)
        assert inside[shown[:, 1], shown[:, 0]].all()
        rows, columns = np.nonzero(split.mask(i))
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        wanted = np.concatenate([pixels.min(0), pixels.max(0)]).clip(0, 96)
        # The filter is 1.5 px wide, so the mask may reach 0.25 px beyond a pixel's edge.
        assert np.abs(found - wanted).max() < 1.5


def test_depth_lies_on_the_mesh(sequence, posed, canonical):
    for name, i in FRAMES:
        split = sequence.split(name)
        depth, camera = split.depth(i), split.cameras[i]
        rows, columns = np.nonzero(np.isfinite(depth))
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], 1)
        points = pixels @ np.linalg.inv(camera.K).T * depth[rows, columns, None]
        world = (points - camera.T_camera_world[:3, 3]) @ camera.T_camera_world[:3, :3]
        # Stored in steps of 0.1 mm along the ray.
        assert distance_to_mesh(world, posed(split, i), np.asarray(canonical.faces)).max() < 1e-4


def test_normals_face_the_camera_and_fit_the_depth(sequence):
    for name, i in FRAMES:
        split = sequence.split(name)
        depth, normal, camera = split.depth(i), split.normal(i), split.cameras[i]
        person = np.isfinite(depth)
        assert (normal[person][:, 2] < 0).all() and not normal[~person].any()
        v, u = np.mgrid[:96, :96] + 0.5
        points = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.K).T * depth[..., None]
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        found = np.cross(down, across)
        near = (np.abs(across[..., 2]) < 0.06) & (np.abs(down[..., 2]) < 0.06) & person[1:-1, 1:-1]
        cosine = (found * normal[1:-1, 1:-1]).sum(-1)[near] / np.linalg.norm(found[near], axis=-1)
        # A pixel is 3 cm here, so pleats and arms are coarse; a wrong sign or axis would be 60 degrees and more.
        assert np.degrees(np.arccos(np.clip(np.median(cosine), -1, 1))) < 20


def test_labels_are_those_of_the_format(sequence):
    never = {"Apparel", "Left_Foot", "Right_Foot", "Left_Sock", "Right_Sock", "Lower_Teeth", "Upper_Teeth", "Tongue"}
    for name, i in FRAMES:
        split = sequence.split(name)
        labels = split.labels(i)
        np.testing.assert_array_equal(labels > 0, np.isfinite(split.depth(i)))
        names = {SAPIENS28_NAMES[c] for c in np.unique(labels)}
        assert not names & never and {"Hair", "Upper_Clothing", "Lower_Clothing", "Face_Neck"} <= names
    front = sequence.split("train").labels(0)
    left, right = (np.nonzero(front == SAPIENS28_NAMES.index(f"{side}_Shoe"))[1].mean() for side in ("Left", "Right"))
    assert left > right, "the person faces the camera, so their left is on the picture's right"


def test_mask_picture_and_surface_agree(sequence):
    for name, i in FRAMES:
        split = sequence.split(name)
        mask, surface = split.mask(i), np.isfinite(split.depth(i))
        assert surface[mask == 1].mean() > 0.99 and not surface[mask == 0].any()
        # Where it is 255 the pixel is all person, at an edge it is the share of samples.
        assert abs(float(mask.sum()) - int(surface.sum())) < 0.02 * surface.sum()
        if name != "train":
            assert not split.frame(i).rgb[mask == 0].any()


def test_the_wall_is_the_background_with_noise(sequence):
    train = sequence.split("train")
    room = train.background()
    assert room is not None
    noise = [train.frame(i).rgb.astype(float) - room for i in range(len(train))]
    free = np.all([train.mask(i) == 0 for i in range(len(train))], axis=0)
    values = np.stack(noise)[:, free]
    # 0.85 of noise and two roundings of variance 1 / 12 each.
    assert abs(values.std() - np.sqrt(0.85**2 + 1 / 6)) < 0.03 and abs(values.mean()) < 0.02
    assert abs(np.corrcoef(values[0].ravel(), values[1].ravel())[0, 1]) < 0.2, "another noise in every frame"


def test_the_same_bytes_every_time(tiny: Path, write_tiny, tmp_path: Path):
    again = write_tiny(tiny.name, tmp_path)
    files = sorted(p.relative_to(tiny) for p in tiny.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file()) and len(files) > 30
    assert [f for f in files if (tiny / f).read_bytes() != (again / f).read_bytes()] == []
