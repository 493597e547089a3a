"""The losses that are taken every few steps: what a keyframe's maps say, what a rendering's depth says of its normals, and what
splats say of each other. Weighted; those of weight 0 are not computed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fmgs_core.geometry import rotation_from_quaternion
from fmgs_core.training import losses as L
from fmgs_core.training.keyframes import Keyframe
from fmgs_core.training.targets import KnownPixels
from fmgs_core.training.weights import LossWeights
from fmgs_core.types import Channel, Rendering, Splats

ORDINAL_PAIRS = 4096


def has_maps(keyframe: Keyframe) -> bool:
    return bool(keyframe.maps)


def auxiliary_channels(keyframe: Keyframe, weights: LossWeights) -> set[Channel]:
    """What has to be drawn beside the colours."""
    needed = {
        Channel.DEPTH: weights.self_normal or ((weights.depth or weights.depth_order) and keyframe.maps.depth is not None),
        Channel.NORMAL: weights.self_normal
        or weights.normal_variation
        or (weights.normal and keyframe.maps.normal is not None),
        Channel.LOGITS: weights.label and keyframe.maps.labels is not None,
    }
    return {channel for channel, wanted in needed.items() if wanted}


def map_losses(
    rendering: Rendering, keyframe: Keyframe, weights: LossWeights, generator: torch.Generator
) -> dict[str, Float[Tensor, ""]]:
    """L_d, L_n and L_s: means over the pixels where both the prior and the avatar show the person, times the maps' trust."""
    terms, maps = {}, keyframe.maps
    if weights.normal and maps.normal is not None:
        normal, seen = _at(rendering.normal, maps.normal, rendering.alpha)
        loss = _mean(L.normal_prior_loss(normal, maps.normal.values.float()), seen)
        terms["normal"] = weights.normal * maps.normal.trust * loss
    if (weights.depth or weights.depth_order) and maps.depth is not None:
        depth, seen = _at(rendering.depth, maps.depth, rendering.alpha)
        pairs, margin = _pairs(maps.depth.values, generator)
        # Unseen pixels have no depth, and NaN times zero would be NaN.
        judged = torch.where(seen > 0, depth, 0.0), maps.depth.values, pairs, margin
        both, trust = seen[pairs].prod(-1), maps.depth.trust
        if weights.depth:
            terms["depth"] = weights.depth * trust * _mean(L.ordinal_depth_loss(*judged), both)
        if weights.depth_order:
            terms["depth_order"] = weights.depth_order * trust * _mean(L.depth_order_loss(*judged), both)
    if weights.label and maps.labels is not None:
        logits, seen = _at(rendering.logits, maps.labels, rendering.alpha)
        loss = _mean(L.label_loss(logits, maps.labels.values.long()), seen)
        terms["label"] = weights.label * maps.labels.trust * loss
    return terms


def rendering_losses(rendering: Rendering, keyframe: Keyframe, weights: LossWeights) -> dict[str, Float[Tensor, ""]]:
    """L_sn and L_tv: they need no map."""
    terms, inside = {}, rendering.alpha.detach() > 0.5
    if weights.self_normal:
        assert rendering.depth is not None and rendering.normal is not None
        from_depth, known = L.normals_from_depth(rendering.depth, keyframe.camera.K, inside)
        terms["self_normal"] = weights.self_normal * _mean(L.self_normal_loss(rendering.normal, from_depth), known)
    if weights.normal_variation:
        assert rendering.normal is not None
        terms["normal_variation"] = weights.normal_variation * L.total_variation(rendering.normal, inside)
    return terms


def splat_losses(
    splats: Splats, rest: Splats | None, neighbors: Int[Tensor, "K 3"], weights: LossWeights
) -> dict[str, Float[Tensor, ""]]:
    """L_reg over the classes that the scores themselves name, and L_iso against `rest`, the splats of the T-pose.

    Classes of the template instead would pull a bare forearm and the cuff of a sleeve together.
    """
    terms = {}
    if weights.label_spread:
        assert splats.logits is not None
        spread = L.semantic_spread(splats.logits, splats.logits.detach().argmax(-1), splats.logits.shape[1])
        terms["label_spread"] = weights.label_spread * spread
    if weights.isometry:
        assert rest is not None
        strain = L.isometry(*_beside(splats.means, neighbors), *_beside(rest.means, neighbors))
        terms["isometry"] = weights.isometry * strain.mean()
    if weights.covariance_isometry:
        assert rest is not None
        change = _overlaps(splats, neighbors) - _overlaps(rest, neighbors)
        terms["covariance_isometry"] = weights.covariance_isometry * change.square().mean()
    return terms


def _beside(
    values: Float[Tensor, "K *c"], neighbors: Int[Tensor, "K 3"]
) -> tuple[Float[Tensor, "m *c"], Float[Tensor, "m *c"]]:
    """Each face's value and that of a face beside it, for all three."""
    return values.repeat_interleave(3, 0), values.index_select(0, neighbors.flatten())


def _overlaps(splats: Splats, neighbors: Int[Tensor, "K 3"]) -> Float[Tensor, " m"]:
    axes, other_axes = _beside(rotation_from_quaternion(splats.quats)[..., :2], neighbors)
    scales, other_scales = _beside(splats.scales, neighbors)
    return L.covariance_overlap(axes, scales, other_axes, other_scales)


def _pairs(prior: Float[Tensor, " n"], generator: torch.Generator) -> tuple[Int[Tensor, "m 2"], Float[Tensor, ""]]:
    """Half of the pairs anywhere, half between pixels close in scan order, where tanh has not saturated; and the difference
    of the prior's depths below which a pair has no order."""
    n, device = len(prior), prior.device
    a, anywhere = torch.randint(n, (2, ORDINAL_PAIRS), generator=generator, device=device)
    near = (a + torch.randint(1, 24, (ORDINAL_PAIRS,), generator=generator, device=device)).clamp(max=n - 1)
    b = torch.where(torch.arange(ORDINAL_PAIRS, device=device) % 2 == 0, near, anywhere)
    return torch.stack([a, b], -1), 0.01 * (prior.max() - prior.min())


def _at(
    picture: Float[Tensor, "h w *c"] | None, known: KnownPixels, alpha: Float[Tensor, "h w"]
) -> tuple[Float[Tensor, "n *c"], Float[Tensor, " n"]]:
    """A picture's values at the known pixels, and 1 where the avatar is seen there, else 0."""
    assert picture is not None
    seen = (alpha.detach().flatten().index_select(0, known.pixels) > 0.5).float()
    return picture.flatten(0, 1).index_select(0, known.pixels), seen


def _mean(values: Float[Tensor, "*n"], weights: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Weighted mean; zero without any weight."""
    return (values * weights).sum() / weights.sum().clamp_min(1.0)
