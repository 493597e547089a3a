"""The losses of FMGS-Avatar. Each comes back unreduced or over the pixels it was given; the trainer weighs and routes."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy, normalize, pad

from fmgs_core.training.ssim import ssim

ALPHA_EDGE = 1e-3  # keeps log finite; a clamp would do too, but would leave saturated pixels without a gradient
L1_SHARE = 0.8  # FMGS-Avatar eq. 9: L_c = 0.8 L1 + 0.2 (1 - SSIM)
MAX_DEPTH_STEP = 0.03  # [m] over two pixels: a slope of 70 degrees where a person of 1.8 m is 400 px tall; more is an edge
TANH_GAIN = 10.0  # per metre; FMGS-Avatar eq. 11: saturates beyond about 0.2 m


def color_loss(rendered: Float[Tensor, "h w 3"], observed: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """L_c per pixel and channel; both pictures composited over the same background."""
    structure = 1 - ssim(rendered, observed)
    return L1_SHARE * (rendered - observed).abs() + (1 - L1_SHARE) * structure


def mask_loss(alpha: Float[Tensor, "h w"], mask: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """L_m: binary cross entropy of the accumulated opacity, post-sigmoid by nature, squeezed away from log 0."""
    return binary_cross_entropy(ALPHA_EDGE + (1 - 2 * ALPHA_EDGE) * alpha, mask, reduction="none")


def ordinal_depth_loss(
    depth: Float[Tensor, " n"], prior: Float[Tensor, " n"], pairs: Int[Tensor, "m 2"], margin: float | Float[Tensor, ""]
) -> Float[Tensor, " m"]:
    """L_d = |tanh(10 (D(x1) - D(x2))) - sign(prior D(x1) - D(x2))| over pixel pairs; the prior's order is all that is
    believed, and pairs whose prior depths differ by less than `margin` (in its own unit) have no order."""
    a, b = pairs.unbind(-1)
    step = prior[a] - prior[b]
    difference = torch.tanh(TANH_GAIN * (depth[a] - depth[b]))
    return (difference - step.sign()).abs() * (step.abs() > margin)


def depth_order_loss(
    depth: Float[Tensor, " n"], prior: Float[Tensor, " n"], pairs: Int[Tensor, "m 2"], margin: float | Float[Tensor, ""]
) -> Float[Tensor, " m"]:
    """L_d of the pairs in the wrong order only: tanh(10 |D(x1) - D(x2)|) where the prior says the opposite, else 0.

    ordinal_depth_loss has a slope of up to 10 per metre for pairs in the right order too, and so pushes a flat surface apart
    until its depths differ by 0.2 m. An order asks for no more than being kept.
    """
    return (ordinal_depth_loss(depth, prior, pairs, margin) - 1).clamp_min(0)


def normal_prior_loss(normal: Float[Tensor, "n 3"], prior: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """1 - N.N_prior over pixels where both are unit vectors."""
    return 1 - (normal * prior).sum(-1)


def label_loss(logits: Float[Tensor, "n C"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """L_s: cross entropy of the blended class scores (pre-softmax)."""
    return cross_entropy(logits, labels, reduction="none")


def normals_from_depth(
    depth: Float[Tensor, "h w"], K: Float[np.ndarray, "3 3"], inside: Bool[Tensor, "h w"]
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """Unit normals towards the camera, in camera axes, of the surface drawn by a depth map [m]: the cross product of central
    differences of its back-projected points. And 1 where all four neighbours are inside with less than MAX_DEPTH_STEP between
    them, else 0; there the normal is some finite vector."""
    height, width = depth.shape
    z = torch.where(inside, depth, 1.0)
    x = (torch.arange(width, dtype=z.dtype, device=z.device) + (0.5 - K[0, 2])) / K[0, 0]
    y = (torch.arange(height, dtype=z.dtype, device=z.device) + (0.5 - K[1, 2])) / K[1, 1]
    points = torch.stack([z * x, z * y[:, None], z], -1)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    whole = inside[1:-1, 2:] & inside[1:-1, :-2] & inside[2:, 1:-1] & inside[:-2, 1:-1]
    known = whole & (torch.maximum(across[..., 2].abs(), down[..., 2].abs()) < MAX_DEPTH_STEP)
    normal = normalize(torch.linalg.cross(down, across), dim=-1, eps=1e-20)
    return pad(normal, (0, 0, 1, 1, 1, 1)), pad(known.to(z.dtype), (1, 1, 1, 1))


def self_normal_loss(normal: Float[Tensor, "*n 3"], from_depth: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    """L_sn = |N - N_from_depth|_1 over pixels where both are unit vectors (FMGS-Avatar sec. 3.3)."""
    return (normal - from_depth).abs().sum(-1)


def total_variation(picture: Float[Tensor, "h w c"], inside: Bool[Tensor, "h w"]) -> Float[Tensor, ""]:
    """L_tv = TV(N), anisotropic: the mean L1 distance of adjacent pixels that both are inside."""
    total = count = picture.new_zeros(())
    for axis in (0, 1):
        length = picture.shape[axis] - 1
        both = (inside.narrow(axis, 0, length) & inside.narrow(axis, 1, length)).to(picture.dtype)
        total = total + (picture.diff(dim=axis).abs().sum(-1) * both).sum()
        count = count + both.sum()
    return total / count.clamp_min(1.0)


def semantic_spread(logits: Float[Tensor, "K C"], groups: Int[Tensor, " K"], num_groups: int) -> Float[Tensor, ""]:
    """L_reg = (1/|C|) sum_c (1/n_c) sum_ij |f_i - f_j|^2 over the splats i, j of group c, here per splat so that its weight
    does not depend on their number. (1/n) sum_ij |f_i - f_j|^2 = 2 sum_i |f_i - mean|^2 takes one pass and no pairs."""
    size = logits.new_zeros(num_groups).index_add(0, groups, torch.ones_like(logits[:, 0]))
    # Deviations from a mean sum to zero, so that the mean adds nothing to the gradient and may count as constant.
    total = logits.new_zeros(num_groups, logits.shape[1]).index_add(0, groups, logits.detach())
    mean = total / size.clamp_min(1.0)[:, None]
    return 2 * (logits - mean.index_select(0, groups)).square().sum() / (num_groups * len(logits))


def isometry(
    means: Float[Tensor, "*b 3"],
    others: Float[Tensor, "*b 3"],
    rest_means: Float[Tensor, "*b 3"],
    rest_others: Float[Tensor, "*b 3"],
) -> Float[Tensor, "*b"]:
    """L_iso of positions: squared change of the squared distance to a neighbour, relative to that at rest. 3DGS-Avatar (eq. 12)
    takes absolute metres; per face that would depend on how fine the mesh is."""
    at_rest = (rest_others - rest_means).square().sum(-1).clamp_min(1e-12)
    return ((others - means).square().sum(-1) / at_rest - 1).square()


def covariance_overlap(
    axes: Float[Tensor, "*b 3 2"],
    scales: Float[Tensor, "*b 2"],
    other_axes: Float[Tensor, "*b 3 2"],
    other_scales: Float[Tensor, "*b 2"],
) -> Float[Tensor, "*b"]:
    """tr(A B) / (|A| |B|) of the covariances of two flat splats, in [0, 1]; axes are their unit tangents as columns.

    L_iso of covariances is its squared change from rest: of |A - B|^2 (3DGS-Avatar, eq. 13) only this part can change, since a
    splat keeps its scales, and it needs four dot products in place of two 3 x 3 matrices.
    """
    a, b = scales.square(), other_scales.square()
    cosines = (axes[..., :, None] * other_axes[..., None, :]).sum(-3).square()
    product = (a[..., :, None] * cosines * b[..., None, :]).sum((-2, -1))
    return product / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-20)


def smoothness(values: Float[Tensor, "K *c"], neighbors: Int[Tensor, "K 3"]) -> Float[Tensor, "K *c"]:
    """Squared distance from the mean of the three adjacent faces: what keeps free per-face geometry a surface."""
    # index_select and not values[neighbors]: on a CPU the gradient of the latter is summed in no fixed order, and slower.
    around = values.index_select(0, neighbors.flatten()).unflatten(0, neighbors.shape)
    return (values - around.mean(1)) ** 2
