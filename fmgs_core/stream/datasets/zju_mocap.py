"""ZJU-MoCap as published (zju3dv/neuralbody, INSTALL.md): CoreView_<subject> with annots.npy, pictures, masks and new_params.

    CoreView_377/annots.npy                      cams: K, D, R, T [mm] per camera; ims: per frame the cameras' file names
    CoreView_377/Camera_B1/000000.jpg            1024 x 1024
    CoreView_377/mask_cihp/Camera_B1/000000.png  above 0 is the person
    CoreView_377/new_params/0.npy                poses (1, 72), shapes (1, 10), Rh (1, 3), Th (1, 3)

Formulas of the parameters: zju3dv/neuralbody, zju_smpl/smplmodel/body_model.py: x_world = R(Rh) x_SMPL(poses, shapes) + Th,
about the origin and not about the pelvis, with pose correctives.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rigid
from fmgs_core.mapfiles import read_rgb
from fmgs_core.stream.datasets.files import expected, numbers, read_dictionary_npy, with_keys
from fmgs_core.stream.datasets.placing import carried, smpl_state
from fmgs_core.stream.datasets.split import DatasetSplit, DatasetSubject, Lens, Shot, Taken, resized_shot
from fmgs_core.types import BodyState

# Frames of each subject; None means all (mikeqzy/3dgs-avatar-release, configs/dataset/zjumocap_*_mono.yaml: train_frames,
# test_frames.view). The same file: trained on camera 1, every frame; tested on all other cameras, every 30th frame.
FRAMES: dict[str, int | None] = {"377": 570, "386": 540, "387": 540, "392": None, "393": None, "394": 475}
TRAIN_CAMERA = 0
TEST_EVERY = 30
SCALE = 0.5  # img_hw 512 of 1024, the same file
# Nothing depends on the rate; the files do not tell it.
_FRAME_NS = 20_000_000
# The studio's z is up.
_R_WORLD_STUDIO = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def gender(subject: str) -> str:
    """Of the SMPL model that the parameters were fitted with."""
    return "neutral"


def load_subject(root: Path, subject: str, body: BodyModel) -> DatasetSubject:
    """One of FRAMES from `root`/CoreView_<subject>.

    Raises:
        ValueError: a file is missing or damaged (named), there are fewer frames than the split needs, or the body is not SMPL.
    """
    folder = expected(root / f"CoreView_{subject}", f"the folder of subject {subject}")
    studio = _Studio(folder, body, FRAMES[subject])
    frames, cameras = range(studio.num_frames), range(studio.num_cameras)
    test = [studio.shot(i, c) for i in frames[::TEST_EVERY] for c in cameras if c != TRAIN_CAMERA]
    train = [studio.shot(i, TRAIN_CAMERA) for i in frames]
    name = f"zju/{subject}"
    return DatasetSubject(name, DatasetSplit(f"{name}/train", tuple(train)), DatasetSplit(f"{name}/test", tuple(test)))


class _Studio:
    """One CoreView folder."""

    def __init__(self, folder: Path, body: BodyModel, num_frames: int | None):
        path = folder / "annots.npy"
        annotations = with_keys(path, read_dictionary_npy(path), ("cams", "ims"))
        self._folder, self._path, self._body = folder, path, body
        self._cams = with_keys(path, annotations["cams"], ("K", "D", "R", "T"))
        self.num_cameras = len(self._cams["K"])
        self._names = [_names(path, entry, self.num_cameras) for entry in annotations["ims"]]
        if not self._names or len(self._names) < (num_frames or 1):
            raise ValueError(f"{path}: expected at least {num_frames or 1} frames, as the split has, got {len(self._names)}")
        self.num_frames = num_frames or len(self._names)
        self._size = _scaled_size(self._picture_path(0, TRAIN_CAMERA))
        self._betas = numbers(folder, "shapes", self._parameters(0)["shapes"], 10)
        self._states: dict[int, BodyState] = {}

    def shot(self, frame: int, camera: int) -> Shot:
        lens = Lens(numbers(self._path, "K", self._cams["K"][camera], 3, 3), self._distortion(camera))
        T_camera_studio = rigid(
            numbers(self._path, "R", self._cams["R"][camera], 3, 3), numbers(self._path, "T", self._cams["T"][camera], 3) / 1000
        )
        T_camera_world = T_camera_studio @ rigid(_R_WORLD_STUDIO.T, np.zeros(3))
        full, size = self._size
        read = partial(_read, self._picture_path(frame, camera), self._mask_path(frame, camera), lens, full, size)
        return Shot(frame * _FRAME_NS, lens.camera(full, T_camera_world).resized(*size), self._state(frame), read)

    def _distortion(self, camera: int) -> Float[np.ndarray, "5"]:
        return numbers(self._path, "D", self._cams["D"][camera], 5)

    def _picture_path(self, frame: int, camera: int) -> Path:
        return expected(self._folder / self._names[frame][camera], f"the picture of frame {frame}, camera {camera + 1}")

    def _mask_path(self, frame: int, camera: int) -> Path:
        name = Path(self._names[frame][camera]).with_suffix(".png")
        return expected(self._folder / "mask_cihp" / name, f"the mask of frame {frame}, camera {camera + 1}")

    def _parameters(self, frame: int) -> Mapping[str, Any]:
        number = int(Path(self._names[frame][TRAIN_CAMERA]).stem)
        path = self._folder / "new_params" / f"{number}.npy"
        return with_keys(path, read_dictionary_npy(path), ("poses", "shapes", "Rh", "Th"))

    def _state(self, frame: int) -> BodyState:
        """All frames get the first one's shape, as in mikeqzy/3dgs-avatar-release, dataset/zjumocap.py (get_smpl_data)."""
        if frame not in self._states:
            found, where = self._parameters(frame), self._folder / "new_params"
            pose = numbers(where, "poses", found["poses"], 24, 3)
            R = _R_WORLD_STUDIO @ cv2.Rodrigues(numbers(where, "Rh", found["Rh"], 3))[0]
            t = _R_WORLD_STUDIO @ numbers(where, "Th", found["Th"], 3)
            self._states[frame] = carried(self._body, smpl_state(self._body, self._betas, pose, np.zeros(3)), R, t)
        return self._states[frame]


def _names(path: Path, entry: Any, count: int) -> list[str]:
    """File names of one frame, one per camera, with forward slashes."""
    names = [str(name).replace("\\", "/") for name in entry["ims"]] if isinstance(entry, dict) and "ims" in entry else []
    if len(names) != count:
        raise ValueError(f"{path}: ims: expected {count} file names per frame, one for each camera, got {len(names)}")
    return names


def _scaled_size(picture: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height as published, and as used."""
    height, width = read_rgb(picture).shape[:2]
    return (width, height), (round(width * SCALE), round(height * SCALE))


def _read(picture: Path, mask: Path, lens: Lens, full: tuple[int, int], size: tuple[int, int]) -> Taken:
    """Undistorted first, then halved. The mask's files hold class numbers."""
    rgb = read_rgb(picture)
    classes = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    if (rgb.shape[1], rgb.shape[0]) != full or classes is None or classes.shape != rgb.shape[:2]:
        got = "an unreadable file" if classes is None else f"{classes.shape[1]} x {classes.shape[0]}"
        raise ValueError(f"{mask}: expected a mask of the picture's {full[0]} x {full[1]} pixels, got {got}")
    person = lens.undistorted((classes != 0).astype(np.uint8)) != 0
    return resized_shot(lens.undistorted(rgb), person, size)
