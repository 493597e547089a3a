"""The body that ships with the package, baked from CC0 MakeHuman data into SMPL-X joint order (NOTICE)."""

from functools import cache
from importlib.resources import as_file, files

import numpy as np
import scipy.sparse
from jaxtyping import Float, UInt8

from fmgs_core.body.template import BodyModel

# The baked parts call everything on the head "face". The cavities are separate islands of the MakeHuman texture, so boxes
# (u0, v0, u1, v1) around the islands find them: mouth bag, tongue and teeth, both eye sockets.
_CAVITIES = (
    ("mouth_interior", (0.750, 0.010, 0.930, 0.140)),
    ("mouth_interior", (0.620, 0.925, 0.650, 0.990)),
    ("eye_sockets", (0.010, 0.545, 0.155, 0.635)),
)


@cache
def default_body() -> BodyModel:
    """13,718 vertices, 27,420 faces, 55 joints, 16 shape directions, 52 expressions, no pose correctives.

    Directions and weights are stored as float16 and widened here; the four weights per vertex are scaled to sum to 1 again.
    """
    with as_file(files("fmgs_core.body") / "body_template.npz") as path, np.load(path, allow_pickle=False) as data:
        v_template, parents = data["v_template"], data["parents"]
        part_names = (*data["part_names"].tolist(), "eye_sockets")
        regressor = (data["jr_data"], data["jr_idx"].astype(np.int32), data["jr_ptr"])
        return BodyModel(
            name="default",
            v_template=v_template,
            shapedirs=data["shapedirs"],
            exprdirs=data["exprdirs"],
            faces=data["faces"].astype(np.int64),
            parents=parents,
            J_regressor=scipy.sparse.csr_matrix(regressor, shape=(len(parents), len(v_template))),
            skin_weights=_dense_weights(data["skin_idx"], data["skin_w"], len(parents)),
            joint_names=tuple(data["joint_names"].tolist()),
            face_part=_with_cavities(data["face_part"], part_names, data["uv"][data["uv_faces"]]),
            part_names=part_names,
            uv=data["uv"],
            uv_faces=data["uv_faces"].astype(np.int64),
        )


def _dense_weights(
    index: UInt8[np.ndarray, "V 4"], weight: Float[np.ndarray, "V 4"], num_joints: int
) -> Float[np.ndarray, "V J"]:
    dense = np.zeros((len(index), num_joints), dtype=np.float64)
    np.add.at(dense, (np.arange(len(index))[:, None], index), weight)
    return dense / dense.sum(1, keepdims=True)


def _with_cavities(
    face_part: UInt8[np.ndarray, " F"], part_names: tuple[str, ...], corners_uv: Float[np.ndarray, "F 3 2"]
) -> UInt8[np.ndarray, " F"]:
    face_part = face_part.copy()
    on_head = face_part == part_names.index("face")
    for name, (u0, v0, u1, v1) in _CAVITIES:
        inside = ((corners_uv >= (u0, v0)) & (corners_uv <= (u1, v1))).all((1, 2))
        face_part[inside & on_head] = part_names.index(name)
    return face_part
