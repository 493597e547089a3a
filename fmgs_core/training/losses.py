"""The losses of FMGS-Avatar. Each comes back unreduced or over the pixels it was given; the trainer weighs and routes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy

from fmgs_core.training.ssim import ssim

ALPHA_EDGE = 1e-3  # keeps log finite; a clamp would do too, but would leave saturated pixels without a gradient
L1_SHARE = 0.8  # FMGS-Avatar eq. 9: L_c = 0.8 L1 + 0.2 (1 - SSIM)
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


def normal_prior_loss(normal: Float[Tensor, "n 3"], prior: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """1 - N.N_prior over pixels where both are unit vectors."""
    return 1 - (normal * prior).sum(-1)


def label_loss(logits: Float[Tensor, "n C"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """L_s: cross entropy of the blended class scores (pre-softmax)."""
    return cross_entropy(logits, labels, reduction="none")


def smoothness(values: Float[Tensor, "K *c"], neighbors: Int[Tensor, "K 3"]) -> Float[Tensor, "K *c"]:
    """Squared distance from the mean of the three adjacent faces: what keeps free per-face geometry a surface."""
    # index_select and not values[neighbors]: on a CPU the gradient of the latter is summed in no fixed order, and slower.
    around = values.index_select(0, neighbors.flatten()).unflatten(0, neighbors.shape)
    return (values - around.mean(1)) ** 2
