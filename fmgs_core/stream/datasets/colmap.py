"""Cameras and poses of a COLMAP model (cameras and images, text or binary; colmap.github.io/format.html)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float

from fmgs_core.geometry import rigid, rotation_from_quaternion
from fmgs_core.stream.datasets.split import Lens

# Number, name, and what the parameters are: f or fx fy, then cx cy, then OpenCV's k1 k2 p1 p2 as far as they go.
_MODELS = (
    (0, "SIMPLE_PINHOLE", 3),
    (1, "PINHOLE", 4),
    (2, "SIMPLE_RADIAL", 4),
    (3, "RADIAL", 5),
    (4, "OPENCV", 8),
)
_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")


@dataclass(frozen=True)
class ColmapView:
    """One registered picture."""

    name: str
    lens: Lens
    """OpenCV's convention: COLMAP, too, has the first pixel's centre at 0.5, so 0.5 is taken off here."""
    size: tuple[int, int]
    T_camera_scene: Float[np.ndarray, "4 4"]
    """Lengths in the scene's own unit."""


def read_views(folder: Path) -> list[ColmapView]:
    """Registered pictures in order of their names.

    Raises:
        ValueError: no model, a damaged one, a camera model that is not known here, or no picture.
    """
    binary = (folder / "cameras.bin").is_file()
    cameras_path, images_path = (folder / f"{kind}.{'bin' if binary else 'txt'}" for kind in ("cameras", "images"))
    for path in (cameras_path, images_path):
        if not path.is_file():
            raise ValueError(f"{path}: expected a COLMAP model (cameras and images, .txt or .bin), got no such file")
    cameras = dict(_parsed(cameras_path, _binary_cameras if binary else _text_cameras))
    views = []
    for pose, camera, name in _parsed(images_path, _binary_images if binary else _text_images):
        if camera not in cameras:
            raise ValueError(f"{images_path}: expected one of the cameras {sorted(cameras)}, got {camera} for {name}")
        lens, size = cameras[camera]
        R = rotation_from_quaternion(torch.from_numpy(pose[:4])).numpy()
        views.append(ColmapView(name, lens, size, rigid(R, pose[4:])))
    if not views:
        raise ValueError(f"{images_path}: expected at least one registered picture, got none")
    return sorted(views, key=lambda view: view.name)


def _parsed(path: Path, parse) -> list:
    try:
        return list(parse(path))
    except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a COLMAP file, got {error}") from error


def _lens(model: str, parameters: Float[np.ndarray, " n"]) -> Lens:
    known = {name: count for _, name, count in _MODELS}
    if known.get(model) != len(parameters):
        raise ValueError(f"camera model {model} with {len(parameters)} parameters (known: {', '.join(known)})")
    if model in _ONE_FOCAL:
        parameters = np.concatenate([parameters[:1], parameters])
    fx, fy, cx, cy = parameters[:4]
    distortion = np.zeros(5)
    distortion[: len(parameters) - 4] = parameters[4:]
    return Lens(np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]), distortion)


def _lines(path: Path) -> Iterator[str]:
    yield from (line for line in path.read_text().splitlines() if not line.startswith("#"))


def _text_cameras(path: Path) -> Iterator[tuple[int, tuple[Lens, tuple[int, int]]]]:
    for line in filter(str.strip, _lines(path)):
        number, model, width, height, *parameters = line.split()
        yield int(number), (_lens(model, np.array(parameters, np.float64)), (int(float(width)), int(float(height))))


def _text_images(path: Path) -> Iterator[tuple[Float[np.ndarray, "7"], int, str]]:
    """Two lines a picture; the second, with the points, may be empty."""
    lines = list(_lines(path))
    for line in filter(str.strip, lines[::2]):
        _, *pose, camera, name = line.split(maxsplit=9)
        yield np.array(pose, np.float64), int(camera), name


def _binary_cameras(path: Path) -> Iterator[tuple[int, tuple[Lens, tuple[int, int]]]]:
    models = {number: (name, count) for number, name, count in _MODELS}
    with path.open("rb") as file:
        for _ in range(_taken(file, "<Q")[0]):
            number, model, width, height = _taken(file, "<iiQQ")
            if model not in models:
                raise ValueError(f"camera model number {model} (known: {', '.join(name for name, _ in models.values())})")
            name, count = models[model]
            yield number, (_lens(name, np.array(_taken(file, f"<{count}d"))), (width, height))


def _binary_images(path: Path) -> Iterator[tuple[Float[np.ndarray, "7"], int, str]]:
    with path.open("rb") as file:
        for _ in range(_taken(file, "<Q")[0]):
            _, *pose, camera = _taken(file, "<i7di")
            name = b"".join(iter(lambda: _taken(file, "<c")[0], b"\0")).decode()
            points = _taken(file, "<Q")[0]
            file.seek(points * struct.calcsize("<ddq"), 1)
            yield np.array(pose), camera, name


def _taken(file: BinaryIO, layout: str) -> tuple:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
