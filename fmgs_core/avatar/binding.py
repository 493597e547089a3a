"""From face attributes to splats: where a Gaussian sits on its face, and how it follows the posed body."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.avatar.fields import FaceAttributes
from fmgs_core.avatar.posing_kernels import PosedFrames, SparseWeights
from fmgs_core.body.skinning import Skinning
from fmgs_core.geometry import orthonormalized, quaternion_from_rotation, rotation_from_axis_angle, triangle_frames
from fmgs_core.types import Splats

# Standard deviation of a fresh Gaussian over the square root of its face's area. Larger than the in-radius on purpose:
# smaller ones hide below the rasterizer's screen-space low-pass and get no gradient (method.md, "a trap of scale").
SCALE_PER_ROOT_AREA = 0.75


@dataclass(frozen=True)
class FaceWeights:
    """Skinning weights of K Gaussians; do not change with the shape."""

    dense: Float[Tensor, "K J"]
    """Rows sum to 1."""
    sparse: SparseWeights
    """The same for the kernels."""


@dataclass(frozen=True)
class FaceBinding:
    """Rest geometry of the K Gaussians for one body shape."""

    centers: Float[Tensor, "K 3"]
    """Face barycentres in the rest pose [m]."""
    frames: Float[Tensor, "K 3 3"]
    """Columns t_u, t_v, n of each face."""
    scales: Float[Tensor, " K"]
    """Isotropic standard deviation before exp(ds) [m]."""
    weights: FaceWeights


def bind_faces(vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "K 3"], weights: FaceWeights) -> FaceBinding:
    """Binding of one Gaussian per face of a rest-pose mesh (FMGS-Avatar eq. 1 to 3)."""
    # index_select and a written-out mean: the same bits in a quarter of the time, and shapes change with every keyframe.
    triangles = vertices.index_select(0, faces.flatten()).unflatten(0, faces.shape)
    frames, areas = triangle_frames(triangles)
    centers = (triangles[:, 0] + triangles[:, 1] + triangles[:, 2]) / 3
    return FaceBinding(centers, frames, SCALE_PER_ROOT_AREA * areas.sqrt(), weights)


def face_weights(vertex_weights: Float[Tensor, "V J"], faces: Int[Tensor, "K 3"]) -> FaceWeights:
    """Mean of each face's three vertices."""
    dense = vertex_weights[faces].mean(-2)
    return FaceWeights(dense, SparseWeights.of(dense.cpu().numpy()))


def pose_splats(
    binding: FaceBinding, attributes: FaceAttributes, skinning: Skinning, joints: Float[Tensor, "J 3"],
    pose: Float[Tensor, "J 3"], transl: Float[Tensor, "3"],
) -> Splats:  # fmt: skip
    """mu_o = T (mu + n dd), R_o = orth(T_3x3 R exp([dr]x)), s = s_face exp(ds), with T the blend of the bones
    (FMGS-Avatar sec. 3.2). A blend of rotations is no rotation, hence the orthonormalisation; it keeps the normal.

    Differentiable in the attributes, the pose [rad] and the translation [m]; `joints` are those of the rest shape [m].
    On a CPU by hand-written kernels, unless the field learns the skinning weights or displaces along the tangents too.
    """
    plain = attributes.skin_weights is None and attributes.tangent_offset is None
    if binding.centers.device.type != "cpu" or not plain:
        return pose_splats_reference(binding, attributes, skinning, joints, pose, transl)
    rest = binding.centers, binding.frames, joints, skinning.parents, binding.weights.sparse
    means, quats = PosedFrames.apply(rest, pose, transl, attributes.normal_offset, attributes.rotation)  # type: ignore[misc]
    return _splats(means, quats, binding, attributes)


def pose_splats_reference(
    binding: FaceBinding, attributes: FaceAttributes, skinning: Skinning, joints: Float[Tensor, "J 3"],
    pose: Float[Tensor, "J 3"], transl: Float[Tensor, "3"],
) -> Splats:  # fmt: skip
    """The same in readable torch, on any device: what the kernels are held against."""
    weights = binding.weights.dense if attributes.skin_weights is None else attributes.skin_weights
    T = (weights @ skinning.bone_transforms(pose, joints).flatten(1)).unflatten(-1, (3, 4))
    rest_means = displaced_centers(binding, attributes)
    means = (T[..., :3] @ rest_means[..., None])[..., 0] + T[..., 3] + transl
    frames = T[..., :3] @ (binding.frames @ rotation_from_axis_angle(attributes.rotation))
    return _splats(means, quaternion_from_rotation(orthonormalized(frames)), binding, attributes)


def displaced_centers(binding: FaceBinding, attributes: FaceAttributes) -> Float[Tensor, "K 3"]:
    """Centres of the Gaussians at rest [m]."""
    centers = binding.centers + binding.frames[..., 2] * attributes.normal_offset[:, None]
    if attributes.tangent_offset is None:
        return centers
    return centers + (binding.frames[..., :2] @ attributes.tangent_offset[..., None])[..., 0]


def _splats(means: Tensor, quats: Tensor, binding: FaceBinding, attributes: FaceAttributes) -> Splats:
    return Splats(
        means=means,
        quats=quats,
        scales=binding.scales[:, None] * torch.exp(attributes.log_scale),
        opacities=attributes.opacity,
        colors=attributes.color,
        logits=attributes.logits,
    )
