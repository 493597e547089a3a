"""Colour and mask loss of one rendering against what a keyframe shows, over one background."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fmgs_core.training import losses as L
from fmgs_core.training.targets import Backdrop


@dataclass(frozen=True)
class PictureLosses:
    """Means over the picture, unweighted."""

    color: Float[Tensor, ""]
    mask: Float[Tensor, ""]


def composited(
    rgb: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w"],
    picture: UInt8[Tensor, "h w 3"],
    mask: Float[Tensor, "h w"],
    backdrop: Backdrop | None,
    color: Float[Tensor, "3"],
) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"]]:
    """Rendering and picture over one background: the room where it is known, elsewhere `color`, over which the observed
    person is cut out by the mask. Where nothing is to be compared, the picture shows what is rendered."""
    shown = picture.to(rgb.dtype) / 255
    behind = color.to(rgb.dtype).expand_as(shown)
    observed = behind + (shown - behind) * mask[..., None]
    if backdrop is not None:
        known = backdrop.known[..., None]
        behind = torch.where(known, backdrop.colors.to(rgb.dtype) / 255, behind)
        observed = torch.where(known, shown, observed)
    rendered = rgb + behind * (1 - alpha[..., None])
    if backdrop is not None:
        observed = torch.where(backdrop.mask_trust[..., None] > 0, observed, rendered.detach())
    return rendered, observed


def picture_losses(
    rgb: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w"],
    picture: UInt8[Tensor, "h w 3"],
    mask: Float[Tensor, "h w"],
    backdrop: Backdrop | None,
    color: Float[Tensor, "3"],
) -> PictureLosses:
    """L_c and L_m (FMGS-Avatar eq. 9, 10); on a CPU by hand-written kernels.

    The kernels leave out what lies more than SSIM's window beside rendering and mask: no splat can change it. Where the room
    is known, their colour loss is therefore smaller than the twin's by a constant.
    """
    if rgb.device.type != "cpu":
        return picture_losses_reference(rgb, alpha, picture, mask, backdrop, color)
    from fmgs_core.training.picture_kernels import ComparedPictures

    plate = (None, None, None) if backdrop is None else (backdrop.colors, backdrop.known, backdrop.mask_trust)
    return PictureLosses(*ComparedPictures.apply(rgb, alpha, picture, mask, *plate, color))  # type: ignore[misc]


def picture_losses_reference(
    rgb: Float[Tensor, "h w 3"],
    alpha: Float[Tensor, "h w"],
    picture: UInt8[Tensor, "h w 3"],
    mask: Float[Tensor, "h w"],
    backdrop: Backdrop | None,
    color: Float[Tensor, "3"],
) -> PictureLosses:
    """The same in readable torch, on any device: what the kernels are held against."""
    rendered, observed = composited(rgb, alpha, picture, mask, backdrop, color)
    mask_loss = L.mask_loss(alpha, mask)
    if backdrop is not None:
        mask_loss = mask_loss * backdrop.mask_trust
    return PictureLosses(L.color_loss(rendered, observed).mean(), mask_loss.mean())
