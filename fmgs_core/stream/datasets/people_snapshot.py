"""PeopleSnapshot, one folder per subject, in either of two forms.

As published (graphics.tu-bs.de/people-snapshot); reading hdf5 needs h5py:

    male-3-casual/camera.pkl                  camera_f, camera_c, camera_k, camera_rt, camera_t, width, height
    male-3-casual/male-3-casual.mp4           1080 x 1080
    male-3-casual/masks.hdf5                  masks (n, 1080, 1080)
    male-3-casual/reconstructed_poses.hdf5    pose (n, 72), betas (10), trans (n, 3)

Prepared (tijiang13/InstantAvatar, scripts/peoplesnapshot/preprocess_PeopleSnapshot.py), pictures already undistorted:

    male-3-casual/cameras.npz                 intrinsic (3, 3), extrinsic (4, 4), height, width
    male-3-casual/images/image_0000.png, masks/mask_0000.npy
    male-3-casual/poses.npz                   thetas (n, 72), betas (10), transl (n, 3)

Beside either, poses/anim_nerf_{train,test}.npz (same repository, data/PeopleSnapshot): poses of the split's frames as
refined by Anim-NeRF, which is what all the peers measure with.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rigid
from fmgs_core.mapfiles import read_rgb
from fmgs_core.stream.datasets.files import expected, numbers, read_dictionary_pickle, read_npz, with_keys
from fmgs_core.stream.datasets.placing import T_world_data, moved, smpl_state
from fmgs_core.stream.datasets.split import DatasetSplit, DatasetSubject, Lens, Shot, Taken, resized_shot
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Image

# First frame, end and step of train and test (mikeqzy/3dgs-avatar-release, configs/dataset/ps_*.yaml: train_frames,
# test_frames.pose; the same as tijiang13/InstantAvatar, confs/dataset/peoplesnapshot/*.yaml, whose end is the last frame).
FRAMES = {
    "male-3-casual": {"train": (0, 456, 4), "test": (456, 676, 4)},
    "male-4-casual": {"train": (0, 660, 6), "test": (660, 873, 6)},
    "female-3-casual": {"train": (0, 446, 4), "test": (446, 648, 4)},
    "female-4-casual": {"train": (0, 336, 4), "test": (335, 524, 4)},
}
SCALE = 0.5  # img_hw 540 of 1080, the same files
_FRAME_NS = 40_000_000
_Poses = tuple[np.ndarray, np.ndarray, np.ndarray]


def gender(subject: str) -> str:
    return subject.split("-")[0]


def load_subject(root: Path, subject: str, body: BodyModel) -> DatasetSubject:
    """One of FRAMES from `root`/<subject>.

    Raises:
        ValueError: a file is missing or damaged (named), there are fewer frames than the split needs, or the body is not SMPL.
        ModuleNotFoundError: the published form, and no h5py; names the install command.
    """
    folder = expected(root / subject, f"the folder of subject {subject}")
    frames = {split: range(*FRAMES[subject][split]) for split in ("train", "test")}
    form = _Prepared(folder) if (folder / "cameras.npz").is_file() else _Published(folder, set().union(*frames.values()))
    splits = {split: _split(folder, form, split, numbers_, body) for split, numbers_ in frames.items()}
    refined = all((folder / "poses" / f"anim_nerf_{split}.npz").is_file() for split in frames)
    notes = () if refined else ("poses are the dataset's own: the peers measure with Anim-NeRF's (poses/anim_nerf_test.npz)",)
    return DatasetSubject(f"people-snapshot/{subject}", splits["train"], splits["test"], notes)


@runtime_checkable
class _Form(Protocol):
    """One of the two forms a subject comes in."""

    lens: Lens
    T_camera_data: Float[np.ndarray, "4 4"]
    size: tuple[int, int]

    def poses(self) -> _Poses: ...

    def read(self, frame: int) -> Taken: ...


def _split(folder: Path, form: _Form, split: str, frames: range, body: BodyModel) -> DatasetSplit:
    thetas, betas, transl = _poses_of(folder, form, split, frames)
    T = T_world_data(form.T_camera_data)
    camera = form.lens.camera(form.size, T_CAMERA_WORLD_UNPOSED).resized(*_half(form.size))
    states = (moved(body, smpl_state(body, betas, theta, t), T) for theta, t in zip(thetas, transl, strict=True))
    shots = (Shot(i * _FRAME_NS, camera, state, partial(form.read, i)) for i, state in zip(frames, states, strict=True))
    return DatasetSplit(f"people-snapshot/{folder.name}/{split}", tuple(shots))


def _poses_of(folder: Path, form: _Form, split: str, frames: range) -> _Poses:
    """thetas (n, 24, 3), betas (10), transl (n, 3) of the split's frames."""
    path = folder / "poses" / f"anim_nerf_{split}.npz"
    if path.is_file():
        found = read_npz(path, ("global_orient", "body_pose", "betas", "transl"))
        thetas, betas, transl = np.hstack([found["global_orient"], found["body_pose"]]), found["betas"], found["transl"]
    else:
        path, (thetas, betas, transl) = folder, form.poses()
        if len(thetas) <= frames[-1] or len(transl) <= frames[-1]:
            raise ValueError(f"{folder}: expected poses of {frames[-1] + 1} frames, as the split needs, got {len(thetas)}")
        thetas, transl = thetas[frames.start : frames.stop : frames.step], transl[frames.start : frames.stop : frames.step]
    n = len(frames)
    return numbers(path, "pose", thetas, n, 24, 3), numbers(path, "betas", betas, 10), numbers(path, "transl", transl, n, 3)


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return round(size[0] * SCALE), round(size[1] * SCALE)


class _Prepared:
    def __init__(self, folder: Path):
        path = folder / "cameras.npz"
        camera = read_npz(path, ("intrinsic", "extrinsic", "height", "width"))
        self._folder = folder
        self.lens = Lens(numbers(path, "intrinsic", camera["intrinsic"], 3, 3), np.zeros(0))
        self.T_camera_data = numbers(path, "extrinsic", camera["extrinsic"], 4, 4)
        self.size = int(camera["width"]), int(camera["height"])

    def poses(self) -> _Poses:
        found = read_npz(self._folder / "poses.npz", ("thetas", "betas", "transl"))
        return found["thetas"], found["betas"], found["transl"]

    def read(self, frame: int) -> Taken:
        rgb = read_rgb(expected(self._folder / "images" / f"image_{frame:04d}.png", f"the picture of frame {frame}"))
        path = expected(self._folder / "masks" / f"mask_{frame:04d}.npy", f"the mask of frame {frame}")
        mask = np.load(path, allow_pickle=False)
        _check_size(path, mask, rgb, self.size)
        return resized_shot(rgb, mask != 0, _half(self.size))


class _Published:
    """Reads the film once and keeps the wanted frames undistorted and halved: about 1 MB each."""

    def __init__(self, folder: Path, wanted: set[int]):
        path = folder / "camera.pkl"
        keys = ("camera_f", "camera_c", "camera_k", "camera_rt", "camera_t", "width", "height")
        camera = read_dictionary_pickle(path, keys)
        fx, fy = numbers(path, "camera_f", camera["camera_f"], 2)
        cx, cy = numbers(path, "camera_c", camera["camera_c"], 2)
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        self.lens = Lens(K, numbers(path, "camera_k", camera["camera_k"], 5))
        R = cv2.Rodrigues(numbers(path, "camera_rt", camera["camera_rt"], 3))[0]
        self.T_camera_data = rigid(R, numbers(path, "camera_t", camera["camera_t"], 3))
        self.size = int(camera["width"]), int(camera["height"])
        self._folder = folder
        self._masks_path = expected(folder / "masks.hdf5", "the masks")
        self._film = expected(folder / f"{folder.name}.mp4", "the film")
        with _hdf5(self._masks_path, ("masks",)) as file:
            masks = file["masks"]
            self._shots = {i: self._shot(rgb, masks[i]) for i, rgb in _film_frames(self._film, wanted) if i < len(masks)}

    def _shot(self, rgb: Image, mask: np.ndarray) -> Taken:
        _check_size(self._masks_path, mask, rgb, self.size)
        person = self.lens.undistorted((mask != 0).astype(np.uint8)) != 0
        return resized_shot(self.lens.undistorted(rgb), person, _half(self.size))

    def poses(self) -> _Poses:
        keys = ("pose", "betas", "trans")
        with _hdf5(expected(self._folder / "reconstructed_poses.hdf5", "the poses"), keys) as file:
            thetas, betas, transl = (np.asarray(file[key]) for key in keys)
        return thetas, betas, transl

    def read(self, frame: int) -> Taken:
        if frame not in self._shots:
            raise ValueError(f"{self._film}: expected film and masks of at least {frame + 1} frames, got fewer")
        return self._shots[frame]


def _check_size(path: Path, mask: np.ndarray, rgb: Image, size: tuple[int, int]) -> None:
    if mask.shape != rgb.shape[:2] or (rgb.shape[1], rgb.shape[0]) != size:
        raise ValueError(
            f"{path}: expected picture and mask of {size[0]} x {size[1]} pixels, as the camera says,"
            f" got {rgb.shape[1]} x {rgb.shape[0]} and a mask of shape {mask.shape}"
        )


def _film_frames(path: Path, wanted: set[int]) -> Iterator[tuple[int, Image]]:
    """Number and picture of the wanted frames, as far as the film goes."""
    film = cv2.VideoCapture(str(path))
    try:
        for i in range(max(wanted) + 1):
            if not film.grab():
                return
            if i in wanted:
                yield i, cv2.cvtColor(film.retrieve()[1], cv2.COLOR_BGR2RGB)
    finally:
        film.release()


@contextlib.contextmanager
def _hdf5(path: Path, keys: tuple[str, ...]) -> Iterator[Any]:
    """The open file, which has these arrays."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{path}: h5py is needed to read it: pip install fmgs_ros[datasets]") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: expected an hdf5 file of {', '.join(keys)}, got {error}") from error
    with file:
        with_keys(path, file, keys)
        yield file
