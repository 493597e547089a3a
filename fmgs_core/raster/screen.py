"""Splats to what gsplat's compositing kernel takes, in torch on any device and without waiting for it.

With pixels counted from the projected centre, d = p - c (maths of projection.py):

    M = K [s_u t_u | s_v t_v | mu],   z = z_centre / (1 + g . d),   g = z_centre K2^-T n_xy / (n . mu)

The kernel blends numbers that belong to a splat and not to a pixel, so depth enters it as a function linear in the pixel: the
first Newton step of 1 / (1 + g . d) from 1, which is the tangent z_centre (1 - g . d).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fmgs_core.geometry import rotation_from_quaternion
from fmgs_core.raster.constants import ALPHA_MIN, NEAR_M, SLOPE_MAX, SUPPORT_SIGMA, SUPPORT_SLACK
from fmgs_core.raster.reference import blended_channels, well_formed
from fmgs_core.types import Camera, Channel, Splats

# Tangents [m] of splats that are drawn by their low-pass dot alone: under 0.7 px wherever z >= NEAR_M, so that the kernel's
# minimum always picks the low-pass, and large enough for its determinant to stay normal.
_DOT = 0.01

# Splats with a smaller |n . mu| / z, seen at under a sixteenth of a degree, have the depth of their centre: the gradient of
# their slope would be a difference of huge numbers.
_FACING_MIN = 1e-3

_EPS = 1e-12

# The bounding box is grown by this much [px] against rounding in the kernel.
_MARGIN_PX = 0.05


@dataclass(frozen=True)
class ScreenSplats:
    """Splats as gsplat's kernels take them. Those that contribute nothing have boxes of radius 0, which no tile lists."""

    centres: Float[Tensor, "N 2"]
    """Projected centres [px]."""
    ray_transforms: Float[Tensor, "N 3 3"]
    """M, which maps (u, v, 1) to homogeneous pixels."""
    opacities: Float[Tensor, " N"]
    features: Float[Tensor, "N F"]
    """Colours, normals that face the camera, logits, then the depth planes: whichever were asked for, side by side."""
    depths: Float[Tensor, " N"]
    """Camera z of the centres [m], which compositing is ordered by."""
    box_centres: Float[Tensor, "N 2"]
    """Middle of the pixels that the splat may touch [px]."""
    box_radii: Int[Tensor, "N 2"]
    """Half their extent, rounded up [px]."""


@dataclass(frozen=True)
class _View:
    """A camera's numbers on the splats' device."""

    R: Float[Tensor, "3 3"]
    t: Float[Tensor, "3"]
    K: Float[Tensor, "2 3"]
    K2_inverse: Float[Tensor, "2 2"]
    size: Float[Tensor, "2"]
    """Width and height [px]."""


@dataclass(frozen=True)
class _InCamera:
    """Sanitised splats in camera axes: rows that are not kept hold harmless numbers."""

    mu: Float[Tensor, "N 3"]
    tangents: Float[Tensor, "N 3 2"]
    """s_u t_u and s_v t_v [m]."""
    normals: Float[Tensor, "N 3"]
    spread: Float[Tensor, " N"]
    """Standard deviation along z [m], without gradient."""
    kept: Bool[Tensor, " N"]


def screen_splats(splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> ScreenSplats:
    """Projects the splats, and gives those that are to be dropped an empty box and no gradient.

    Dropped are those that `rasterize` names and, since the kernel would draw the mirror image of what lies behind the camera,
    those whose support reaches behind the near plane.
    """
    view = _uploaded(camera, splats.means)
    seen, away = _in_camera(splats, view, channels)
    xy = (view.K[:, :, None] * torch.cat([seen.tangents, seen.mu[..., None]], -1)[:, None]).sum(-2)
    z = seen.mu[:, 2]
    centres = xy[..., 2] / z[:, None]
    jacobian, edge_on = _jacobian(xy, centres, seen)
    dot = _DOT * torch.eye(2, dtype=z.dtype, device=z.device)
    projected = torch.where(edge_on[:, None, None], dot, xy[..., :2])
    depth_row = torch.where(edge_on[:, None], 0.0, seen.tangents[:, 2])
    M = torch.cat([torch.cat([projected, xy[..., 2:]], -1), torch.cat([depth_row, z[:, None]], -1)[:, None]], -2)
    visible = seen.kept & ~(away & cull_backfaces)
    opacities = torch.where(seen.kept, splats.opacities, 1.0).clamp(max=1)
    low, high = _pixel_bounds(centres, jacobian, seen, opacities, view.size)
    visible &= (low < high).all(-1)
    radii = torch.where(visible[:, None], torch.ceil((high - low) / 2), 0).int()
    features = _features(splats, seen, view, centres, channels)
    return ScreenSplats(centres, M, opacities, features, z.detach(), (low + high) / 2, radii)


def blended_depth(planes: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w"]:
    """Alpha-weighted sum of depths, from the blended planes that `screen_splats` gives for Channel.DEPTH."""
    x, y = (torch.arange(n, device=planes.device) + (0.5 - n / 2) for n in (planes.shape[1], planes.shape[0]))
    return planes[..., 0] + planes[..., 1] * x + planes[..., 2] * y[:, None]


def _uploaded(camera: Camera, like: Tensor) -> _View:
    """One copy of 24 numbers from pinned memory, which the device fetches when it gets there."""
    K, T, size = camera.K[:2], camera.T_camera_world, [camera.width, camera.height]
    numbers = torch.from_numpy(np.concatenate([T[:3, :3], T[:3, 3], K, np.linalg.inv(K[:, :2]), size], None)).to(like.dtype)
    numbers = numbers.pin_memory() if like.is_cuda else numbers
    R, t, K, K2_inverse, size = numbers.to(like.device, non_blocking=True).split([9, 3, 6, 4, 2])
    return _View(R.view(3, 3), t, K.view(2, 3), K2_inverse.view(2, 2), size)


def _in_camera(splats: Splats, view: _View, channels: frozenset[Channel]) -> tuple[_InCamera, Bool[Tensor, " N"]]:
    """The splats in camera axes with normals that face the camera, and which of them had to be turned for that.

    Sums of products instead of matrix products: those may run in TF32, which has three digits.
    """
    fine = well_formed(splats, channels)
    means, quats, scales = (torch.where(fine[:, None], t, 1.0) for t in (splats.means, splats.quats, splats.scales))
    axes = (view.R[:, :, None] * rotation_from_quaternion(quats)[:, None]).sum(-2)
    mu = (view.R * means[:, None]).sum(-1) + view.t
    tangents = axes[..., :2] * scales[:, None]
    spread = tangents[:, 2].detach().norm(dim=-1)
    z = mu[:, 2].detach()
    kept = fine & (z - SUPPORT_SIGMA * spread >= NEAR_M)
    mu, tangents = torch.where(kept[:, None], mu, 1.0), torch.where(kept[:, None, None], tangents, 0.0)
    away = (axes[..., 2] * mu).sum(-1) > 0
    normals = torch.where(away[:, None], -axes[..., 2], axes[..., 2])
    return _InCamera(mu, tangents, normals, torch.where(kept, spread, 0.0), kept), away


@torch.no_grad()
def _jacobian(
    xy: Float[Tensor, "N 2 3"], centres: Float[Tensor, "N 2"], seen: _InCamera
) -> tuple[Float[Tensor, "N 2 2"], Bool[Tensor, " N"]]:
    """d(pixel) / d(u, v) at the centre, and which splats are seen too edge-on for its inverse to be used."""
    jacobian = (xy[..., :2] - centres[..., None] * seen.tangents[:, None, 2]) / seen.mu[:, 2, None, None]
    det = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
    return jacobian, jacobian.abs().amax((-2, -1)) >= SLOPE_MAX * det.abs()


@torch.no_grad()
def _pixel_bounds(
    centres: Float[Tensor, "N 2"],
    jacobian: Float[Tensor, "N 2 2"],
    seen: _InCamera,
    opacities: Float[Tensor, " N"],
    size: Float[Tensor, "2"],
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2"]]:
    """First and last-but-one pixel in x and y where alpha may reach ALPHA_MIN, cut to the picture.

    A row a of the Jacobian moves (u, v) by a . (u, v) / (1 + h . (u, v)); over the disk of radius r that is the interval
    c -+ sqrt(c^2 + r^2 a . a / D) with D = 1 - r^2 h . h and c = -r^2 a . h / D.
    """
    reach = torch.log(opacities / ALPHA_MIN).clamp(min=0).sqrt()[:, None]
    radius2 = 2 * reach**2
    h = (seen.tangents[:, 2] / seen.mu[:, 2:])[:, None]
    D = 1 - radius2 * (h * h).sum(-1)
    middle = -radius2 * (jacobian * h).sum(-1) / D
    half = (middle**2 + radius2 * (jacobian * jacobian).sum(-1) / D).sqrt()
    first = torch.ceil(centres + torch.minimum(middle - half, -reach) - (0.5 + _MARGIN_PX)).clamp(min=0)
    last = torch.floor(centres + torch.maximum(middle + half, reach) - (0.5 - _MARGIN_PX))
    return first, torch.minimum(last + 1, size)


def _features(
    splats: Splats, seen: _InCamera, view: _View, centres: Float[Tensor, "N 2"], channels: frozenset[Channel]
) -> Float[Tensor, "N F"]:
    available = {Channel.RGB: splats.colors, Channel.NORMAL: seen.normals, Channel.LOGITS: splats.logits}
    features = [available[c] for c in blended_channels(channels)]
    features += [_depth_planes(seen, view, centres)] if Channel.DEPTH in channels else []
    return torch.cat([*features, seen.mu[:, :0]], -1)


def _depth_planes(seen: _InCamera, view: _View, centres: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
    """Depth as a + b x + c y, with x and y counted from the middle of the picture [px].

    Where only the low-pass reaches, `rasterize` clamps depth to the range +-R of the splat's support. The low-pass is a
    Gaussian of variance 1/2 px^2, and the linear function nearest to clamp(s d, +-R) under it has the slope s erf(R / s).
    Splats wider than a pixel keep s: there R / s is over 3. R counts as a constant.
    """
    z, n = seen.mu[:, 2:], (view.K2_inverse.T * seen.normals[:, None, :2]).sum(-1)
    facing = (seen.normals * seen.mu).sum(-1, keepdim=True)
    edge_on = (facing > -_FACING_MIN * z).detach()
    facing = torch.where(edge_on, -1.0, facing)
    support = SUPPORT_SIGMA * seen.spread[:, None] + SUPPORT_SLACK * z.detach()
    steepness = z * z * ((n * n).sum(-1, keepdim=True) + _EPS).sqrt() / -facing
    slope = torch.where(edge_on, 0.0, -z * z * n / facing * torch.erf(support / steepness))
    return torch.cat([z - (slope * (centres - view.size / 2)).sum(-1, keepdim=True), slope], -1)
