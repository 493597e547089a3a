#!/usr/bin/env python3
"""Makes ground-truth sequences (avatar_gt/1) of dressed people out of the body template and formulas alone.

    python scripts/make_subjects.py OUT
    fmgs eval OUT/skirt_b

The same command gives the same bytes (with the same versions of NumPy and OpenCV). The fits are judged on these people beside
those of other makers, so nothing of the method is used here: no splats and no light model of the trainer's.
"""

import argparse
import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int
from rich.console import Console
from rich.progress import track

from fmgs_core.body.default import default_body
from fmgs_core.body.skinning import Skinning
from fmgs_core.geometry import look_at
from fmgs_core.mapfiles import write_depth, write_labels, write_mask, write_normal, write_rgb
from fmgs_core.types import Camera

sys.path.insert(0, str(Path(__file__).parent))
from subjects.drawing import Drawn, draw_person
from subjects.motion import turning_poses, unseen_poses
from subjects.people import SUBJECTS, CameraSpot, Subject
from subjects.pieces import DressedPerson
from subjects.room import background

FPS, FIRST_STAMP_S = 15.0, 1.0
NOISE_SIGMA = 0.85 / 255
GEOMETRY_EVERY = 5


@dataclass(frozen=True)
class Size:
    """How much of a sequence to make; the defaults are those of the format."""

    pixels: int = 512
    train: int = 100
    views_per_camera: int = 12
    poses: int = 16


@dataclass(frozen=True)
class Shot:
    """One split before it is drawn."""

    name: str
    pose: Float[np.ndarray, "n 55 3"]
    transl: Float[np.ndarray, "n 3"]
    stamps: Float[np.ndarray, " n"]
    cameras: tuple[Camera, ...]
    """One per frame."""
    extra: dict[str, Int[np.ndarray, " n"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the sequences' folders")
    parser.add_argument("--only", choices=[s.name for s in SUBJECTS], nargs="*", help="by default all")
    arguments = parser.parse_args()
    for subject in SUBJECTS:
        if not arguments.only or subject.name in arguments.only:
            write_subject(subject, arguments.out / subject.name, Size())
            print(arguments.out / subject.name)


def write_subject(subject: Subject, out: Path, size: Size) -> None:
    """One sequence: canonical.ply, meta.json and the three splits."""
    person, mover = subject.dress(subject.betas), _Mover(subject)
    out.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(person.mesh.vertices, person.mesh.faces, process=False).export(out / "canonical.ply")
    shots = _shots(subject, person, mover, size)
    for shot in shots:
        _write_shot(subject, person, mover, shot, out / shot.name)
    (out / "meta.json").write_text(json.dumps(_meta(subject, person, shots, size), indent=1) + "\n")


class _Mover:
    """Linear blend skinning of any vertices that carry the template's weights."""

    def __init__(self, subject: Subject):
        self._skinning = Skinning(default_body())
        _, self._joints = self._skinning.shaped(torch.from_numpy(subject.betas), torch.zeros(0))

    def vertices(self, person: DressedPerson, pose: Float[np.ndarray, "55 3"], transl: np.ndarray) -> Float[np.ndarray, "V 3"]:
        """World vertices [m]."""
        with torch.inference_mode():
            A = self._skinning.bone_transforms(torch.from_numpy(pose), self._joints).numpy().astype(np.float64)
        T = (person.mesh.skin_weights @ A.reshape(len(A), 12)).reshape(-1, 3, 4)
        return np.einsum("vab,vb->va", T[:, :, :3], person.mesh.vertices) + T[:, :, 3] + transl


def _shots(subject: Subject, person: DressedPerson, mover: _Mover, size: Size) -> list[Shot]:
    poses, unseen = turning_poses(subject.motion, size.train, subject.seed), unseen_poses(subject.seed + 100, size.poses)
    transl, unseen_transl = _standing(person, mover, poses, subject.seed), _standing(person, mover, unseen, subject.seed + 1)
    middle = float(np.ptp(person.mesh.vertices[:, 1])) * 0.52
    camera = _camera(subject, subject.camera, middle, size.pixels)
    index = np.round(np.arange(size.views_per_camera) * size.train / size.views_per_camera).astype(np.int64)
    stamps = FIRST_STAMP_S + np.arange(max(size.train, size.poses)) / FPS
    views = [_camera(subject, spot, middle, size.pixels) for spot in subject.test_cameras]
    both = np.tile(index, 2)
    which = np.repeat(np.arange(2), len(index))
    return [
        Shot("train", poses, transl, stamps[: size.train], (camera,) * size.train, {}),
        Shot("test_view", poses[both], transl[both], stamps[both], tuple(views[k] for k in which),
             {"train_index": both, "camera_index": which}),
        Shot("test_pose", unseen, unseen_transl, stamps[: size.poses], (camera,) * size.poses, {}),
    ]  # fmt: skip


def _standing(person: DressedPerson, mover: _Mover, poses: np.ndarray, seed: int) -> Float[np.ndarray, "n 3"]:
    """Translations that put the lowest point on the floor, swaying by a centimetre or two."""
    t = np.arange(len(poses)) / max(len(poses), 1)
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 2)
    sway = 0.02 * np.sin(2 * np.pi * np.stack([2 * t, 3 * t], 1) + phase)
    lowest = [mover.vertices(person, pose, np.zeros(3))[:, 1].min() for pose in poses]
    return np.stack([sway[:, 0], -np.array(lowest), sway[:, 1]], 1).astype(np.float32)


def _camera(subject: Subject, spot: CameraSpot, middle_m: float, pixels: int) -> Camera:
    focal = subject.focal_per_width * pixels
    K = np.array([[focal, 0, 0.506 * pixels], [0, focal, 0.495 * pixels], [0, 0, 1.0]])
    eye = np.array([np.sin(spot.yaw) * spot.distance_m, spot.height_m, np.cos(spot.yaw) * spot.distance_m])
    return Camera(K, pixels, pixels, look_at(eye, np.array([0.0, middle_m, 0.0])))


def _write_shot(subject: Subject, person: DressedPerson, mover: _Mover, shot: Shot, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    train = shot.name == "train"
    room = background(subject.room, shot.cameras[0]) if train else None
    if room is not None:
        write_rgb(folder / "background.png", _bytes(room))

    def draw(i: int) -> None:
        vertices = mover.vertices(person, shot.pose[i], shot.transl[i])
        drawn = draw_person(person, vertices, shot.cameras[i], subject.light)
        # A seed of its own per frame, so that the order in which threads take frames changes nothing.
        noise = np.random.default_rng([subject.seed, i]).normal(0, NOISE_SIGMA, drawn.rgb.shape) if train else 0.0
        _write_frame(folder, i, drawn, 0.0 if room is None else room, noise, geometry=not train or i % GEOMETRY_EVERY == 0)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        title = f"{subject.name}/{shot.name}"
        done = pool.map(draw, range(len(shot.pose)))
        for _ in track(done, title, len(shot.pose), console=Console(stderr=True), transient=True):
            pass
    T = np.stack([c.T_camera_world for c in shot.cameras])
    np.savez(
        folder / "params.npz", pose=shot.pose, betas=subject.betas, transl=shot.transl, K=shot.cameras[0].K,
        T_camera_world=T[0] if train else T, stamps=shot.stamps, **shot.extra,
    )  # fmt: skip


def _write_frame(
    folder: Path, i: int, drawn: Drawn, room: np.ndarray | float, noise: np.ndarray | float, geometry: bool
) -> None:
    """Composites over the room with the mask as it is stored, as the format says."""
    name = f"{i:06d}.png"
    mask = np.rint(drawn.alpha * 255) / 255
    write_rgb(folder / "rgb" / name, _bytes(mask[..., None] * drawn.rgb + (1 - mask[..., None]) * room + noise))
    write_mask(folder / "mask" / name, mask)
    if geometry:
        write_depth(folder / "depth" / name, drawn.depth)
        write_normal(folder / "normal" / name, drawn.normal, np.isfinite(drawn.depth))
        write_labels(folder / "label" / name, drawn.labels)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _meta(subject: Subject, person: DressedPerson, shots: list[Shot], size: Size) -> dict:
    template = files("fmgs_core.body") / "body_template.npz"
    return {
        "format": "avatar_gt/1",
        "name": subject.name,
        "width": size.pixels,
        "height": size.pixels,
        "fps": FPS,
        "body_template": "body_template.npz",
        "body_template_sha256": hashlib.sha256(template.read_bytes()).hexdigest(),
        "camera_convention": "OpenCV, metres; pixel centres at +0.5; x_camera = T_camera_world @ x_world",
        "world": "y up, floor at y = 0, metres",
        "depth_unit_m": 1e-4,
        "splits": {shot.name: _counts(shot) for shot in shots},
        "label_set": "Sapiens 28",
        "garments": subject.garments,
        "sources": "body template of fmgs_core, clothes and textures by formula (scripts/make_subjects.py)",
        "canonical": {"vertices": len(person.mesh.vertices), "faces": len(person.mesh.faces)},
    }


def _counts(shot: Shot) -> dict[str, int | str]:
    n, train = len(shot.pose), shot.name == "train"
    maps = dict.fromkeys(("depth", "normal", "label"), len(range(0, n, GEOMETRY_EVERY if train else 1)))
    return {"frames": n, "rgb": n, "mask": n, **maps, "background": "image" if train else "black"}


if __name__ == "__main__":
    main()
