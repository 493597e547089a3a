"""The body model as data: a rest mesh, its shape and expression directions, its joints and its skinning weights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, UInt8

from fmgs_core.types import BodyState

# Cavities carry no Gaussian: nobody sees them, and what lies behind the lips would shine through. The eyeballs do carry some:
# they close the eye openings, with a fifth of the faces of the sockets behind them.
PARTS_WITHOUT_GAUSSIAN = ("mouth_interior", "eye_sockets")


@dataclass(frozen=True, eq=False)
class BodyModel:
    """A linear-blend-skinned body in the SMPL family's parametrisation. Compared and hashed by identity.

    Raises:
        ValueError: an array of the wrong shape, an index out of range, values that are not finite, weights not summing to 1.
    """

    name: str
    """"default", "smplx" or "smpl"."""
    v_template: Float[np.ndarray, "V 3"]
    """Vertices of the mean body in T-pose, y up, +z front [m]."""
    shapedirs: Float[np.ndarray, "V 3 B"]
    """Displacement [m] per standard deviation of each shape coefficient."""
    exprdirs: Float[np.ndarray, "V 3 E"]
    """Displacement [m] per unit of each expression coefficient; E may be 0."""
    faces: Int[np.ndarray, "F 3"]
    """Vertex indices, counter-clockwise seen from outside."""
    parents: Int[np.ndarray, " J"]
    """Parent of each joint, always an earlier one; -1 for joint 0, the root."""
    J_regressor: scipy.sparse.csr_matrix = field(repr=False)
    """(J, V): rest joints = J_regressor @ shaped vertices."""
    skin_weights: Float[np.ndarray, "V J"]
    """Dense; rows sum to 1."""
    joint_names: tuple[str, ...]
    face_part: UInt8[np.ndarray, " F"]
    """Index into part_names."""
    part_names: tuple[str, ...]
    uv: Float[np.ndarray, "T 2"] | None = None
    """Texture coordinates in [0, 1], v up."""
    uv_faces: Int[np.ndarray, "F 3"] | None = None
    """Rows of `uv` for the corners of each face; seams make T > V."""
    posedirs: Float[np.ndarray, "P V3"] | None = None
    """Pose correctives, (9 (J - 1), 3 V) [m] per entry of R - I of the joints after the root; None when the body has none."""

    def __post_init__(self):
        for name in ("v_template", "shapedirs", "exprdirs", "skin_weights", "uv", "posedirs"):
            self._cast(name, np.float32)
        for name in ("faces", "parents", "uv_faces"):
            self._cast(name, np.int64)
        self._cast("face_part", np.uint8)
        object.__setattr__(self, "J_regressor", scipy.sparse.csr_matrix(self.J_regressor, dtype=np.float32))
        self._check_shapes()
        self._check_values()

    def _cast(self, name: str, dtype: type) -> None:
        value = getattr(self, name)
        if value is not None:
            object.__setattr__(self, name, np.ascontiguousarray(value, dtype=dtype))

    def _check_shapes(self) -> None:
        V, F, J = len(self.v_template), len(self.faces), len(self.parents)
        self._expect("v_template", (V, 3))
        self._expect("shapedirs", (V, 3, None))
        self._expect("exprdirs", (V, 3, None))
        self._expect("faces", (F, 3))
        self._expect("parents", (J,))
        self._expect("J_regressor", (J, V))
        self._expect("skin_weights", (V, J))
        self._expect("face_part", (F,))
        if len(self.joint_names) != J:
            raise ValueError(f"BodyModel.joint_names: expected {J} names, one per joint, got {len(self.joint_names)}")
        if (self.uv is None) != (self.uv_faces is None):
            raise ValueError("BodyModel.uv: expected uv and uv_faces together, got one of them")
        if self.uv is not None:
            self._expect("uv", (None, 2))
            self._expect("uv_faces", (F, 3))
        if self.posedirs is not None:
            self._expect("posedirs", (9 * (J - 1), 3 * V))

    def _expect(self, name: str, shape: Sequence[int | None]) -> None:
        got = getattr(self, name).shape
        if len(got) != len(shape) or any(want not in (None, have) for want, have in zip(shape, got, strict=True)):
            expected = tuple("any" if n is None else n for n in shape)
            raise ValueError(f"BodyModel.{name}: expected shape {expected}, got {got}")

    def _check_values(self) -> None:
        for name in ("v_template", "shapedirs", "exprdirs", "skin_weights", "uv", "posedirs"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"BodyModel.{name}: expected finite values, got {(~np.isfinite(value)).sum()} that are not")
        if not np.isfinite(self.J_regressor.data).all():
            raise ValueError("BodyModel.J_regressor: expected finite values, got some that are not")
        _check_range("faces", self.faces, self.num_vertices)
        _check_range("face_part", self.face_part, len(self.part_names))
        if self.uv is not None and self.uv_faces is not None:
            _check_range("uv_faces", self.uv_faces, len(self.uv))
        below = np.arange(self.num_joints)
        if self.parents[0] != -1 or (self.parents[1:] < 0).any() or (self.parents >= below).any():
            raise ValueError(f"BodyModel.parents: expected -1, then always an earlier joint, got {self.parents.tolist()}")
        worst = np.abs(self.skin_weights.sum(1) - 1).max()
        if worst > 1e-3:
            raise ValueError(f"BodyModel.skin_weights: expected rows that sum to 1, got a row that is off by {worst:.3g}")

    @property
    def num_vertices(self) -> int:
        return len(self.v_template)

    @property
    def num_faces(self) -> int:
        return len(self.faces)

    @property
    def num_joints(self) -> int:
        return len(self.parents)

    @cached_property
    def kept_faces(self) -> Int[np.ndarray, " K"]:
        """Faces that carry a Gaussian, ascending: all but those of PARTS_WITHOUT_GAUSSIAN."""
        dropped = [i for i, name in enumerate(self.part_names) if name in PARTS_WITHOUT_GAUSSIAN]
        return np.flatnonzero(~np.isin(self.face_part, dropped))

    def height(self, betas: Float[np.ndarray, " B"]) -> float:
        """Extent of the shaped T-pose body along y [m]; fewer betas than the body has are followed by zeros."""
        y = self.v_template[:, 1] + self.shapedirs[:, 1, : len(betas)] @ np.asarray(betas, dtype=np.float32)
        return float(y.max() - y.min())

    def neutral_state(self) -> BodyState:
        """Mean shape in T-pose, neutral face, pelvis where the template has it."""
        B, E = self.shapedirs.shape[2], self.exprdirs.shape[2]
        return BodyState(np.zeros(B), np.zeros((self.num_joints, 3)), np.zeros(3), np.zeros(E))


def _check_range(name: str, indices: np.ndarray, count: int) -> None:
    if indices.size and (indices.min() < 0 or indices.max() >= count):
        raise ValueError(f"BodyModel.{name}: expected indices in [0, {count}), got {indices.min()} to {indices.max()}")
