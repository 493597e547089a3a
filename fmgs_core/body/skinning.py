"""Linear blend skinning (Loper et al., SMPL, 2015), differentiable, on any device."""

from functools import lru_cache

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rotation_from_axis_angle
from fmgs_core.types import BodyState


class Skinning:
    """The constants of one BodyModel as tensors.

    The weights stay dense: one (V, J) x (J, 12) product is faster on a CPU than gathering four transforms per vertex.
    """

    def __init__(self, body: BodyModel, device: str | torch.device = "cpu"):
        def tensor(value: np.ndarray) -> Tensor:
            return torch.as_tensor(value, device=device)

        regressor = body.J_regressor
        self.num_vertices, self.num_joints = body.num_vertices, body.num_joints
        self.v_template = tensor(body.v_template)
        self.shapedirs, self.exprdirs = tensor(body.shapedirs), tensor(body.exprdirs)
        self.skin_weights = tensor(body.skin_weights)
        self.posedirs = None if body.posedirs is None else tensor(body.posedirs)
        # The regressor is linear, so it is applied to the directions once and joints never touch the vertices again.
        self.J_template = tensor(regressor @ body.v_template)
        self.J_shapedirs = tensor(_regressed(regressor, body.shapedirs))
        self.J_exprdirs = tensor(_regressed(regressor, body.exprdirs))
        self.parents = body.parents
        self._parents = tensor(body.parents.clip(min=0))
        levels, order = _levels(body.parents)
        # Index tensors and not lists, which would be copied to a GPU, and waited for, at every call.
        self._levels = [tuple(torch.as_tensor(i, device=device) for i in level) for level in levels]
        self._order = torch.as_tensor(order, device=device)
        self._bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], device=device)

    def shaped(
        self, betas: Float[Tensor, " B"], expression: Float[Tensor, " E"]
    ) -> tuple[Float[Tensor, "V 3"], Float[Tensor, "J 3"]]:
        """T-pose vertices and joints [m]. Fewer coefficients than the body has are followed by zeros.

        Raises:
            ValueError: more coefficients than the body has.
        """
        joints = self.shaped_joints(betas, expression)
        return _displaced(_displaced(self.v_template, self.shapedirs, betas), self.exprdirs, expression), joints

    def shaped_joints(self, betas: Float[Tensor, " B"], expression: Float[Tensor, " E"]) -> Float[Tensor, "J 3"]:
        """The joints alone [m], in a tenth of the time; raises as `shaped` does."""
        _check_coefficients("betas", betas, self.J_shapedirs)
        _check_coefficients("expression", expression, self.J_exprdirs)
        return _displaced(_displaced(self.J_template, self.J_shapedirs, betas), self.J_exprdirs, expression)

    def bone_transforms(self, pose: Float[Tensor, "J 3"], joints: Float[Tensor, "J 3"]) -> Float[Tensor, "J 3 4"]:
        """[R | t] per joint with x_posed = R x_rest + t; the root's transl is not in it."""
        return self._bone_transforms(self._rotations(pose), joints)

    def posed_joints(
        self, pose: Float[Tensor, "J 3"], transl: Float[Tensor, "3"], joints: Float[Tensor, "J 3"]
    ) -> Float[Tensor, "J 3"]:
        """World positions of the rest joints that `shaped` gave [m]."""
        A = self.bone_transforms(pose, joints)
        return torch.einsum("jab,jb->ja", A[:, :, :3], joints) + A[:, :, 3] + transl

    def corrected(self, v_shaped: Float[Tensor, "V 3"], pose: Float[Tensor, "J 3"]) -> Float[Tensor, "V 3"]:
        """Rest vertices [m] with the body's pose correctives, if it has any."""
        if self.posedirs is None:
            return v_shaped
        return v_shaped + (_pose_feature(self._rotations(pose)) @ self.posedirs).view(-1, 3)

    def skinned(
        self,
        v_shaped: Float[Tensor, "V 3"],
        joints: Float[Tensor, "J 3"],
        pose: Float[Tensor, "J 3"],
        transl: Float[Tensor, "3"],
    ) -> Float[Tensor, "V 3"]:
        """World vertices [m] of what `shaped` gave, so that an unchanged shape is computed once."""
        A = self.bone_transforms(pose, joints).reshape(self.num_joints, 12)
        v_shaped = self.corrected(v_shaped, pose)
        T = (self.skin_weights @ A).view(-1, 3, 4)
        return (T[:, :, :3] * v_shaped[:, None]).sum(-1) + T[:, :, 3] + transl

    def posed(
        self,
        betas: Float[Tensor, " B"],
        pose: Float[Tensor, "J 3"],
        transl: Float[Tensor, "3"],
        expression: Float[Tensor, " E"],
    ) -> Float[Tensor, "V 3"]:
        """World vertices [m]."""
        return self.skinned(*self.shaped(betas, expression), pose, transl)

    def _rotations(self, pose: Float[Tensor, "J 3"]) -> Float[Tensor, "J 3 3"]:
        if pose.shape != (self.num_joints, 3):
            raise ValueError(f"pose: expected shape ({self.num_joints}, 3), got {tuple(pose.shape)}")
        return rotation_from_axis_angle(pose)

    def _bone_transforms(self, R: Float[Tensor, "J 3 3"], joints: Float[Tensor, "J 3"]) -> Float[Tensor, "J 3 4"]:
        R_world, t_world = self._forward_kinematics(R, joints)
        t = t_world - (R_world @ joints[:, :, None])[:, :, 0]
        return torch.cat([R_world, t[:, :, None]], -1)

    def _forward_kinematics(
        self, R: Float[Tensor, "J 3 3"], joints: Float[Tensor, "J 3"]
    ) -> tuple[Float[Tensor, "J 3 3"], Float[Tensor, "J 3"]]:
        """World rotation and position of each joint; joints of equal depth in the tree are one batched product."""
        offset = torch.cat([joints[:1], joints[1:] - joints[self._parents[1:]]])
        bottom = self._bottom.to(R.dtype).expand(len(R), 1, 4)
        T_local = torch.cat([torch.cat([R, offset[:, :, None]], -1), bottom], -2)
        T_level = T_local[:1]
        chain = [T_level]
        for joint_index, parent_in_level in self._levels:
            T_level = T_level[parent_in_level] @ T_local[joint_index]
            chain.append(T_level)
        T = torch.cat(chain)[self._order]
        return T[:, :3, :3], T[:, :3, 3]


def posed_vertices(body: BodyModel, state: BodyState) -> Float[np.ndarray, "V 3"]:
    """World vertices [m], float32. The tensors of the last bodies asked for are kept."""
    with torch.inference_mode():
        betas, pose, transl, expression = _tensors(state)
        return _skinning(body).posed(betas, pose, transl, expression).numpy()


def posed_joints(body: BodyModel, state: BodyState) -> Float[np.ndarray, "J 3"]:
    """World joint positions [m], float32."""
    with torch.inference_mode():
        betas, pose, transl, expression = _tensors(state)
        skinning = _skinning(body)
        return skinning.posed_joints(pose, transl, skinning.shaped_joints(betas, expression)).numpy()


def vertex_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit outward normals, float32: the area-weighted mean of the faces around; zeros where a vertex has no face."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    corners = faces.ravel()
    sums = [np.bincount(corners, np.repeat(cross[:, k], 3), minlength=len(vertices)) for k in range(3)]
    normals = np.stack(sums, 1)
    return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20)).astype(np.float32)


@lru_cache(maxsize=4)
def _skinning(body: BodyModel) -> Skinning:
    return Skinning(body)


def _tensors(state: BodyState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    values = (state.betas, state.pose, state.transl, state.expression)
    betas, pose, transl, expression = (torch.from_numpy(value) for value in values)
    return betas, pose, transl, expression


def _regressed(regressor: scipy.sparse.csr_matrix, directions: Float[np.ndarray, "V 3 N"]) -> Float[np.ndarray, "J 3 N"]:
    V, _, N = directions.shape
    flat = regressor @ directions.reshape(V, 3 * N)
    return flat.reshape(len(flat), 3, N)


def _displaced(points: Tensor, directions: Tensor, coefficients: Tensor) -> Tensor:
    if len(coefficients) == 0:
        return points
    return points + directions[:, :, : len(coefficients)] @ coefficients


def _pose_feature(R: Float[Tensor, "J 3 3"]) -> Float[Tensor, " P"]:
    return (R[1:] - torch.eye(3, dtype=R.dtype, device=R.device)).reshape(-1)


def _check_coefficients(name: str, coefficients: Tensor, directions: Tensor) -> None:
    if coefficients.ndim != 1 or len(coefficients) > directions.shape[2]:
        got = tuple(coefficients.shape)
        raise ValueError(f"{name}: expected one vector of at most {directions.shape[2]} coefficients, got shape {got}")


def _levels(parents: Int[np.ndarray, " J"]) -> tuple[list[tuple[list[int], list[int]]], list[int]]:
    """Per depth below the root (joints, position of each one's parent within the depth above), and the order that undoes it."""
    level, flat, levels = [0], [0], []
    while len(flat) < len(parents):
        below = [j for j in range(len(parents)) if parents[j] in level]
        levels.append((below, [level.index(parents[j]) for j in below]))
        flat, level = flat + below, below
    return levels, np.argsort(flat).tolist()
