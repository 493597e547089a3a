"""Reads a user's own SMPL-X or SMPL model file (licensed, never shipped) into a BodyModel.

Nothing in the file is run: .npz members are read one by one without pickle, so that the object arrays of the real files
(joint2num, part2num) are never touched, and .pkl goes through model_pickle.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from fmgs_core.body.model_pickle import read_model_pickle
from fmgs_core.body.parts import PART_NAMES, face_parts
from fmgs_core.body.template import BodyModel

_BODY_JOINTS = (
    "pelvis left_hip right_hip spine1 left_knee right_knee spine2 left_ankle right_ankle spine3 left_foot right_foot neck"
    " left_collar right_collar head left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist"
).split()
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
SMPL_JOINT_NAMES = (*_BODY_JOINTS, "left_hand", "right_hand")
SMPLX_JOINT_NAMES = (
    *_BODY_JOINTS,
    *("jaw", "left_eye_smplhf", "right_eye_smplhf"),
    *(f"{side}_{finger}{k}" for side in ("left", "right") for finger in _FINGERS for k in (1, 2, 3)),
)
# Columns of SMPL-X's shapedirs: where the betas end, where the expression starts (SMPL-X 1.1 and its 10 + 10 predecessor).
_SMPLX_SHAPE_COLUMNS = {400: 300, 20: 10}
_KEYS = ("v_template", "shapedirs", "posedirs", "f", "kintree_table", "J_regressor", "weights")


def load_smplx(path: str | Path, *, max_betas: int = 16, max_expression: int = 10) -> BodyModel:
    """SMPL-X from .npz or .pkl: 55 joints; finger poses are absolute (flat hand mean, no PCA).

    Of the 300 (or 10) betas and 100 (or 10) expressions of the file the first max_betas and max_expression are kept: each costs
    126 kB of directions that every shaped body reads. Parts come from the skinning weights, so the mouth's inside is "face".

    Raises:
        ValueError: the file is damaged, is not SMPL-X, or asks for code to be run; names the file and the key.
        OSError: the file cannot be opened.
    """
    data = _checked(Path(path), SMPLX_JOINT_NAMES)
    columns = data["shapedirs"].shape[2]
    if columns not in _SMPLX_SHAPE_COLUMNS:
        raise ValueError(f"{path}: key 'shapedirs': expected 400 or 20 columns, got {columns}")
    end_of_betas = _SMPLX_SHAPE_COLUMNS[columns]
    betas, expression = slice(min(max_betas, end_of_betas)), slice(end_of_betas, end_of_betas + max_expression)
    return _body(path, "smplx", data, SMPLX_JOINT_NAMES, betas, expression)


def load_smpl(path: str | Path, *, max_betas: int = 10) -> BodyModel:
    """SMPL from .npz or .pkl: 24 joints, no expression. Raises as load_smplx does."""
    data = _checked(Path(path), SMPL_JOINT_NAMES)
    return _body(path, "smpl", data, SMPL_JOINT_NAMES, slice(max_betas), slice(0, 0))


def _body(
    path: str | Path, name: str, data: Mapping[str, Any], joint_names: tuple[str, ...], betas: slice, expression: slice
) -> BodyModel:
    regressor = scipy.sparse.csr_matrix(data["J_regressor"])
    v_template, faces, weights = data["v_template"], data["f"].astype(np.int64), data["weights"]
    directions, posedirs = data["shapedirs"], data["posedirs"]
    _check_faces(path, faces, len(v_template))
    try:
        return BodyModel(
            name=name,
            v_template=v_template,
            shapedirs=directions[:, :, betas],
            exprdirs=directions[:, :, expression],
            faces=faces,
            parents=_parents(data["kintree_table"]),
            J_regressor=regressor,
            skin_weights=weights,
            joint_names=joint_names,
            face_part=face_parts(v_template, faces, weights, regressor @ v_template, joint_names),
            part_names=PART_NAMES,
            uv=data.get("vt"),
            uv_faces=data["ft"].astype(np.int64) if "ft" in data else None,
            posedirs=posedirs.reshape(-1, posedirs.shape[2]).T,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parents(kintree_table: np.ndarray) -> np.ndarray:
    """The files store the root's parent as 2^32 - 1."""
    return np.concatenate([[-1], kintree_table[0, 1:].astype(np.int64)])


def _checked(path: Path, joint_names: Sequence[str]) -> dict[str, Any]:
    data = _read(path)
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise ValueError(f"{path}: expected the keys {list(_KEYS)}, got none of {missing}")
    V, J = len(np.atleast_1d(data["v_template"])), len(joint_names)
    _expect(path, data, "v_template", (V, 3))
    _expect(path, data, "shapedirs", (V, 3, None))
    _expect(path, data, "posedirs", (V, 3, 9 * (J - 1)))
    _expect(path, data, "f", (None, 3))
    _expect(path, data, "kintree_table", (2, J))
    _expect(path, data, "J_regressor", (J, V))
    _expect(path, data, "weights", (V, J))
    return data


def _expect(path: Path, data: Mapping[str, Any], key: str, shape: Sequence[int | None]) -> None:
    got, kind = getattr(data[key], "shape", ()), getattr(getattr(data[key], "dtype", None), "kind", "")
    fits = len(got) == len(shape) and all(want in (None, have) for want, have in zip(shape, got, strict=True))
    if not fits or kind not in "fiu" or not kind:
        expected = tuple("any" if n is None else n for n in shape)
        raise ValueError(f"{path}: key {key!r}: expected numbers of shape {expected}, got {type(data[key]).__name__} {got}")


def _check_faces(path: str | Path, faces: np.ndarray, num_vertices: int) -> None:
    if faces.size and (faces.min() < 0 or faces.max() >= num_vertices):
        raise ValueError(f"{path}: key 'f': expected indices in [0, {num_vertices}), got {faces.min()} to {faces.max()}")


def _read(path: Path) -> dict[str, Any]:
    """The arrays of the file by key; told apart by content, since both formats travel under other names."""
    with path.open("rb") as file:
        is_zip = file.read(2) == b"PK"
    if is_zip:
        return _read_npz(path)
    try:
        return dict(read_model_pickle(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    """Only the members that are used; the others may be object arrays."""
    key = "(the archive)"
    try:
        with np.load(path, allow_pickle=False) as archive:
            data = {}
            for key in (*_KEYS, "vt", "ft"):
                if key in archive:
                    data[key] = archive[key]
            return data
    except Exception as error:  # a damaged archive raises nearly anything; the file is at fault, whatever it was
        raise ValueError(f"{path}: key {key}: expected a readable array, got {error}") from error
