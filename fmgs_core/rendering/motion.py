"""Motions and other arrays in npz files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from fmgs_core.avatar.model import Avatar
from fmgs_core.types import BodyState


def load_motion(path: Path, avatar: Avatar) -> list[BodyState]:
    """Body states of an npz with pose (n, J, 3) [rad], transl (n, 3) [m] and perhaps expression (n, E); the avatar's shape.

    Raises:
        ValueError: not such a file, or arrays that do not fit the body.
    """
    data = load_arrays(path, ("pose", "transl"))
    pose, transl = data["pose"], data["transl"]
    joints, expressions = avatar.body.num_joints, avatar.body.exprdirs.shape[-1]
    if pose.ndim != 3 or pose.shape[1:] != (joints, 3) or transl.shape != (len(pose), 3) or not len(pose):
        raise ValueError(f"{path}: expected pose (n, {joints}, 3) and transl (n, 3), got {pose.shape} and {transl.shape}")
    expression = data.get("expression", np.zeros((len(pose), expressions), np.float32))
    if expression.shape != (len(pose), expressions):
        raise ValueError(f"{path}: expected expression ({len(pose)}, {expressions}), got {expression.shape}")
    return [BodyState(avatar.betas, *values) for values in zip(pose, transl, expression, strict=True)]


def load_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All arrays of an npz; nothing is unpickled.

    Raises:
        ValueError: not such a file, or one of `names` is missing.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected an npz file, got {'another kind of file' if path.is_file() else 'no file'}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = dict(archive)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected an npz file without objects, got one that says: {error}") from error
    missing = set(names) - set(data)
    if missing:
        raise ValueError(f"{path}: expected arrays {sorted(names)}, got {sorted(data)}")
    return data
