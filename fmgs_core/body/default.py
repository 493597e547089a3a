"""The body that ships with the package, baked from CC0 MakeHuman data into SMPL-X joint order (NOTICE)."""

from functools import cache
from importlib.resources import as_file, files

import numpy as np
import scipy.sparse

from fmgs_core.body.template import BodyModel


@cache
def default_body() -> BodyModel:
    """13,718 vertices, 27,420 faces, 55 joints, 16 shape directions, 52 expressions, no pose correctives.

    Directions and weights are stored as float16 and widened here; the four weights per vertex are scaled to sum to 1 again.
    """
    with as_file(files("fmgs_core.body") / "body_template.npz") as path, np.load(path, allow_pickle=False) as data:
        v_template, parents = data["v_template"], data["parents"]
        regressor = (data["jr_data"], data["jr_idx"].astype(np.int32), data["jr_ptr"])
        return BodyModel(
            name="default",
            v_template=v_template,
            shapedirs=data["shapedirs"],
            exprdirs=data["exprdirs"],
            faces=data["faces"],
            parents=parents,
            J_regressor=scipy.sparse.csr_matrix(regressor, shape=(len(parents), len(v_template))),
            skin_weights=_dense_weights(data["skin_idx"], data["skin_w"], len(parents)),
            joint_names=tuple(data["joint_names"].tolist()),
            face_part=data["face_part"],
            part_names=tuple(data["part_names"].tolist()),
            uv=data["uv"],
            uv_faces=data["uv_faces"],
        )


def _dense_weights(index: np.ndarray, weight: np.ndarray, num_joints: int) -> np.ndarray:
    dense = np.zeros((len(index), num_joints), dtype=np.float64)
    np.add.at(dense, (np.arange(len(index))[:, None], index), weight)
    return dense / dense.sum(1, keepdims=True)
