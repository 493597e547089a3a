"""NeuMan (apple/ml-neuman) with the poses that apple/ml-hugs publishes with it: one folder per sequence.

    seattle/images/00000.png
    seattle/sparse/cameras.txt, images.txt                COLMAP's, or .bin
    seattle/4d_humans/smpl_optimized_aligned_scale.npz    global_orient, body_pose, betas, transl, scale: one row per picture
    seattle/4d_humans/sam_segmentations/*.png             person white, in the pictures' order
    seattle/segmentations/00000.png                       in place of the former: person black (the first release)

Scenes have COLMAP's own unit, and `scale` is its length of one metre of the body, per frame (apple/ml-hugs,
hugs/models/hugs_trimlp.py: x_scene = scale x_SMPL + transl). Each frame's camera is divided by it, so that lengths are metres.
The first release's own poses (smpl_output_optimized.pkl, written by joblib, and alignments.npy) are not read.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rigid, rigid_inverse
from fmgs_core.mapfiles import read_rgb
from fmgs_core.stream.datasets.colmap import ColmapView, read_views
from fmgs_core.stream.datasets.files import expected, numbers, read_npz
from fmgs_core.stream.datasets.placing import T_world_data, moved, smpl_state
from fmgs_core.stream.datasets.split import DatasetSplit, DatasetSubject, Shot, Taken

SUBJECTS = ("bike", "citron", "jogging", "lab", "parkinglot", "seattle")
# Nothing depends on the rate.
_FRAME_NS = 40_000_000


def gender(subject: str) -> str:
    return "neutral"


def split_indices(count: int) -> dict[str, list[int]]:
    """Which pictures train and test (apple/ml-neuman, data_io/neuman_helper.py: create_split_files): of every fifth picture
    the first half is for testing, the second for validation, which here nothing is chosen by.

    Raises:
        ValueError: too few pictures for a test set.
    """
    if count < 10:
        raise ValueError(f"expected at least 10 pictures, of which every fifth is held out, got {count}")
    step = int(1 / (count // 5) * count)
    held_out = list(range(count))[step // 2 :: step]
    return {"train": sorted(set(range(count)) - set(held_out)), "test": held_out[: len(held_out) // 2]}


def load_subject(root: Path, subject: str, body: BodyModel) -> DatasetSubject:
    """One of SUBJECTS from `root`/<subject>.

    Raises:
        ValueError: a file is missing or damaged (named), numbers of files do not agree, or the body is not SMPL.
    """
    folder = expected(root / subject, f"the folder of sequence {subject}")
    views = read_views(folder / "sparse")
    shots = _shots(folder, views, body)
    try:
        chosen = split_indices(len(views))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    name = f"neuman/{subject}"
    splits = {split: DatasetSplit(f"{name}/{split}", tuple(shots[i] for i in indices)) for split, indices in chosen.items()}
    return DatasetSubject(name, splits["train"], splits["test"])


def _shots(folder: Path, views: list[ColmapView], body: BodyModel) -> list[Shot]:
    path, n = folder / "4d_humans" / "smpl_optimized_aligned_scale.npz", len(views)
    found = read_npz(path, ("global_orient", "body_pose", "betas", "transl", "scale"))
    pose = np.hstack([numbers(path, "global_orient", found["global_orient"], n, 3),
                      numbers(path, "body_pose", found["body_pose"], n, 69)]).reshape(n, 24, 3)  # fmt: skip
    scale, transl = numbers(path, "scale", found["scale"], n), numbers(path, "transl", found["transl"], n, 3)
    betas = numbers(path, "betas", found["betas"].reshape(-1, 10)[0], 10)
    if scale.min() <= 0:
        raise ValueError(f"{path}: scale: expected more than zero, got {scale.min()}")
    masks = _mask_paths(folder, views)
    T_first = T_world_data(rigid(views[0].T_camera_scene[:3, :3], views[0].T_camera_scene[:3, 3] / scale[0]))
    shots = []
    for i, view in enumerate(views):
        T_camera_data = rigid(view.T_camera_scene[:3, :3], view.T_camera_scene[:3, 3] / scale[i])
        state = moved(body, smpl_state(body, betas, pose[i], transl[i] / scale[i]), T_first)
        picture = expected(folder / "images" / view.name, "the picture that the COLMAP model names")
        camera = view.lens.camera(view.size, T_camera_data @ rigid_inverse(T_first))
        shots.append(Shot(i * _FRAME_NS, camera, state, partial(_read, picture, *masks[i], view)))
    return shots


def _mask_paths(folder: Path, views: list[ColmapView]) -> list[tuple[Path, bool]]:
    """Per picture its mask, and whether the person is white in it."""
    white = sorted((folder / "4d_humans" / "sam_segmentations").glob("*.png"))
    if white:
        if len(white) != len(views):
            raise ValueError(f"{white[0].parent}: expected one mask for each of {len(views)} pictures, got {len(white)}")
        return [(path, True) for path in white]
    what = "the mask (or masks in 4d_humans/sam_segmentations)"
    return [(expected(folder / "segmentations" / view.name, what), False) for view in views]


def _read(picture: Path, mask: Path, person_is_white: bool, view: ColmapView) -> Taken:
    rgb, grey = read_rgb(picture), cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    if (rgb.shape[1], rgb.shape[0]) != view.size or grey is None or grey.shape != rgb.shape[:2]:
        got = "an unreadable file" if grey is None else f"{grey.shape[1]} x {grey.shape[0]}"
        raise ValueError(f"{mask}: expected picture and mask of {view.size[0]} x {view.size[1]} pixels, got a mask of {got}")
    person = ((grey > 127) == person_is_white).astype(np.uint8)
    return view.lens.undistorted(rgb), view.lens.undistorted(person) != 0
