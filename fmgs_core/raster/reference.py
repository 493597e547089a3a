"""The rasterizer as one reads it: dense torch over splats x pixels, gradients by autograd. It judges the fast backends."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fmgs_core.geometry import rotation_from_quaternion
from fmgs_core.raster.constants import (
    ALPHA_MAX,
    ALPHA_MIN,
    LOW_PASS,
    NEAR_M,
    PARAMETER_MAX,
    QUATERNION_NORM_MIN,
    RATIO_MIN,
    SCALE_MIN_M,
    SLOPE_MAX,
    SUPPORT_SIGMA,
    SUPPORT_SLACK,
    TRANSMITTANCE_MIN,
)
from fmgs_core.types import Camera, Channel, Rendering, Splats

# Pixels times splats evaluated at once: some 40 float64 intermediates of this size are alive, 0.3 GB.
_CHUNK = 1_000_000


@dataclass(frozen=True)
class CameraSplats:
    """Splats in the camera frame, sorted by the depth of their centres."""

    ray_transform: Float[Tensor, "N 3 3"]
    """M = K [s_u t_u | s_v t_v | mu]: maps (u, v, 1) to homogeneous pixels."""
    depth_spread: Float[Tensor, " N"]
    """Standard deviation of the splat along the camera's z [m]."""
    opacities: Float[Tensor, " N"]
    features: Float[Tensor, "N F"]
    """Colours, normals that face the camera, logits: whichever were asked for, side by side."""


def rasterize_reference(splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> Rendering:
    """`rasterize` by dense torch; see there."""
    seen = camera_splats(splats, camera, channels, cull_backfaces)
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    pixels = (torch.stack([x, y], -1).reshape(-1, 2) + 0.5).to(seen.features)
    chunk = max(1, _CHUNK // max(1, len(seen.opacities)))
    parts = [_composite(seen, p) for p in pixels.split(chunk)]
    alpha, features, depth = (torch.cat(p).unflatten(0, (camera.height, camera.width)) for p in zip(*parts, strict=True))
    return normalised(alpha, features, depth, channels)


def camera_splats(splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> CameraSplats:
    """Drops what cannot be seen, moves the rest into the camera frame and sorts it by depth."""
    T = torch.as_tensor(camera.T_camera_world).to(splats.means)
    K = torch.as_tensor(camera.K).to(splats.means)
    kept = well_formed(splats, channels) & ((splats.means.detach() @ T[:3, :3].T + T[:3, 3])[:, 2] >= NEAR_M)
    kept = kept.nonzero()[:, 0]
    mu = splats.means[kept] @ T[:3, :3].T + T[:3, 3]
    R = T[:3, :3] @ rotation_from_quaternion(splats.quats[kept])
    facing_away = (R[..., 2] * mu).sum(-1) > 0
    features = {
        Channel.RGB: splats.colors[kept],
        Channel.NORMAL: torch.where(facing_away[:, None], -R[..., 2], R[..., 2]),
        Channel.LOGITS: splats.logits[kept] if splats.logits is not None else None,
    }
    features = torch.cat([features[c] for c in blended_channels(channels)] + [mu[:, :0]], -1)
    tangents = R[..., :2] * splats.scales[kept][:, None]
    M = K @ torch.cat([tangents, mu[..., None]], -1)
    order = torch.sort(mu[:, 2].detach(), stable=True).indices
    order = order[~facing_away[order]] if cull_backfaces else order
    spread = tangents[:, 2].detach().norm(dim=-1)
    return CameraSplats(M[order], spread[order], splats.opacities[kept][order].clamp(max=1), features[order])


def well_formed(splats: Splats, channels: frozenset[Channel]) -> Bool[Tensor, " N"]:
    """Splats whose parameters, as far as they are used, can be drawn."""
    used = [splats.means, splats.quats, splats.scales, splats.opacities[:, None]]
    used += [splats.colors] if Channel.RGB in channels else []
    used += [splats.logits] if Channel.LOGITS in channels and splats.logits is not None else []
    bounded = (torch.cat(used, -1).detach().abs() <= PARAMETER_MAX).all(-1)
    thick = (splats.scales >= SCALE_MIN_M).all(-1)
    return bounded & thick & (splats.quats.norm(dim=-1) >= QUATERNION_NORM_MIN) & (splats.opacities >= ALPHA_MIN)


def blended_channels(channels: frozenset[Channel]) -> list[Channel]:
    """Those that are numbers of a splat and not of a pixel, in the order in which they stand side by side."""
    return [c for c in (Channel.RGB, Channel.NORMAL, Channel.LOGITS) if c in channels]


def _composite(seen: CameraSplats, pixels: Float[Tensor, "P 2"]) -> tuple[Tensor, Tensor, Tensor]:
    """Alpha (P,), blended features (P, F) and blended depth (P,)."""
    exponent, depth = intersect(seen, pixels)
    alpha = (seen.opacities[:, None] * torch.exp(-exponent)).clamp(max=ALPHA_MAX)
    weight = blending_weights(alpha)
    return weight.sum(0), weight.T @ seen.features, (weight * depth).sum(0)


def intersect(seen: CameraSplats, pixels: Float[Tensor, "P 2"]) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N P"]]:
    """Exponent of every splat's weight at every pixel, and the camera z [m] of its plane there."""
    m0, m1, m2 = seen.ray_transform.unbind(-2)
    centre, z = torch.stack([m0[:, 2], m1[:, 2]], -1) / m2[:, 2:], m2[:, 2:]
    dx, dy = (pixels - centre[:, None]).unbind(-1)

    # h_u x h_v = (m0 x m1) + x (m1 x m2) + y (m2 x m0), with pixels counted from the projected centre: that shifts the rows
    # to m - c m2, whose last entries vanish, and keeps the digits that absolute pixel coordinates would cancel.
    m0, m1 = m0 - centre[:, :1] * m2, m1 - centre[:, 1:] * m2
    det = z * torch.linalg.cross(m0, m1)[:, 2:]
    slopes_x, slopes_y, offset = torch.linalg.cross(m1, m2), torch.linalg.cross(m2, m0), torch.linalg.cross(m0, m1)
    slope = torch.maximum(slopes_x[:, :2].abs().amax(-1), slopes_y[:, :2].abs().amax(-1))[:, None]
    edge_on = (slope * z >= SLOPE_MAX * det.abs()).detach()
    det = torch.where(edge_on, 1.0, det)
    affine = [(torch.where(edge_on, 0.0, s * z / det)) for s in (slopes_x, slopes_y, offset)]
    u, v, _ = (affine[0][:, None] * dx[..., None] + affine[1][:, None] * dy[..., None]).unbind(-1)
    ratio = 1 + affine[0][:, 2:] * dx + affine[1][:, 2:] * dy  # z_centre / z_intersection = w' z_centre / det M

    hit = (ratio >= RATIO_MIN) & (ratio * NEAR_M <= z) & ~edge_on
    ratio = ratio.clamp(min=RATIO_MIN)
    on_plane = torch.where(hit, (u * u + v * v) / ratio**2, torch.inf)
    exponent = 0.5 * torch.minimum(on_plane, LOW_PASS * (dx * dx + dy * dy))
    return exponent, z * _clamped_to_support(1 / ratio, seen.depth_spread[:, None] / z.detach(), NEAR_M / z.detach())


def _clamped_to_support(
    relative_depth: Float[Tensor, "N P"], relative_spread: Float[Tensor, "N 1"], relative_near: Float[Tensor, "N 1"]
) -> Float[Tensor, "N P"]:
    reach = SUPPORT_SIGMA * relative_spread + SUPPORT_SLACK
    lowest = torch.maximum(1 - reach, relative_near)
    highest = (1 + reach).clamp(max=0.999 / RATIO_MIN)
    return torch.minimum(torch.maximum(relative_depth, lowest), highest)


def blending_weights(alpha: Float[Tensor, "N P"]) -> Float[Tensor, "N P"]:
    """alpha_i prod_{j<i} (1 - alpha_j), with faint splats and those behind an opaque stack left out."""
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    behind = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(behind[:1]), behind[:-1]])
    return torch.where(before >= TRANSMITTANCE_MIN, alpha * before, 0.0)


def normalised(alpha: Tensor, features: Tensor, depth: Tensor | None, channels: frozenset[Channel]) -> Rendering:
    """Splits the blended features (h, w, F) and normalises normals and the blended depth (h, w)."""
    seen = alpha >= ALPHA_MIN
    outputs, start = {}, 0
    for channel in blended_channels(channels):
        stop = features.shape[-1] if channel is Channel.LOGITS else start + 3
        outputs[channel.value], start = features[..., start:stop], stop
    if depth is not None and Channel.DEPTH in channels:
        outputs["depth"] = torch.where(seen, depth / torch.where(seen, alpha, 1.0), torch.nan)
    if Channel.NORMAL in channels:
        blended = torch.where(seen[..., None], outputs["normal"], 1.0)  # any vector that has a direction
        outputs["normal"] = torch.where(seen[..., None], torch.nn.functional.normalize(blended, dim=-1), 0.0)
    return Rendering(alpha=alpha, **outputs)
