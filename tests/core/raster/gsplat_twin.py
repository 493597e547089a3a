"""The three functions of gsplat 1.5.3 that the CUDA backend calls, in torch on any device: what its CUDA sources compute.

Written from IntersectTile.cu, RasterizeToPixels2DGSFwd.cu and _wrapper.py; gradients by autograd. One image, tiles of any
size. Where the kernel differs from `rasterize`:

- A pixel ends before the splat that would bring its transmittance to 1e-4 or less; that splat is not drawn.
- Intersections behind the camera count, and splats whose determinant is exactly zero at a pixel have no low-pass there.
- Splats are drawn in the tiles that their box touches, nowhere else.
"""

import torch
from torch import Tensor

ALPHA_THRESHOLD, ALPHA_MAX, TRANSMITTANCE_MIN, FILTER_INV_SQUARE = 1 / 255, 0.999, 1e-4, 2.0
COLOR_COUNTS = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512)


@torch.no_grad()
def isect_tiles(
    means2d: Tensor, radii: Tensor, depths: Tensor, tile_size: int, tile_width: int, tile_height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Tiles per splat, sorted keys (tile, then depth), and the splat of each key."""
    assert radii.dtype == torch.int32 and means2d.shape == radii.shape == (*depths.shape, 2) and len(means2d) == 1
    centre, reach = means2d[0] / tile_size, radii[0] / tile_size
    last = torch.tensor([tile_width, tile_height])
    low = torch.minimum(torch.floor(centre - reach).clamp(min=0), last).long()
    high = torch.minimum(torch.ceil(centre + reach).clamp(min=0), last).long()
    y, x = torch.meshgrid(torch.arange(tile_height), torch.arange(tile_width), indexing="ij")
    tiles = torch.stack([x, y], -1).reshape(-1, 1, 2)
    listed = ((tiles >= low) & (tiles < high) & (radii[0] > 0).all(-1, keepdim=True)).all(-1)
    order = torch.sort(depths[0], stable=True).indices
    tile, place = listed[:, order].nonzero().unbind(-1)
    return listed.sum(0)[None], tile, order[place].int()


def isect_offset_encode(isect_ids: Tensor, n_images: int, tile_width: int, tile_height: int) -> Tensor:
    """First key of each tile."""
    tiles = torch.arange(n_images * tile_width * tile_height)
    return torch.searchsorted(isect_ids, tiles).reshape(n_images, tile_height, tile_width)


def rasterize_to_pixels_2dgs(
    means2d: Tensor, ray_transforms: Tensor, colors: Tensor, opacities: Tensor, normals: Tensor, densify: Tensor,
    image_width: int, image_height: int, tile_size: int, isect_offsets: Tensor, flatten_ids: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Blended colours, alpha, blended normals, and two outputs that nothing here stands in for."""
    n = means2d.shape[1]
    assert n > 0 and colors.shape[-1] in COLOR_COUNTS, "other numbers are padded with unset memory"
    expected = [(1, n, 2), (1, n, 3, 3), (1, n, colors.shape[-1]), (1, n), (1, n, 3), (1, n, 2)]
    assert [t.shape for t in (means2d, ray_transforms, colors, opacities, normals, densify)] == expected
    features = torch.cat([colors[0], normals[0]], -1)
    ends = torch.cat([isect_offsets.flatten()[1:], torch.tensor([len(flatten_ids)])])
    alpha = means2d.new_full((image_height, image_width), torch.nan)
    blended = means2d.new_full((image_height, image_width, features.shape[-1]), torch.nan)
    for tile, (start, end) in enumerate(zip(isect_offsets.flatten().tolist(), ends.tolist(), strict=True)):
        row, column = (tile_size * i for i in divmod(tile, isect_offsets.shape[-1]))
        y, x = torch.meshgrid(
            torch.arange(row, min(row + tile_size, image_height)), torch.arange(column, min(column + tile_size, image_width)),
            indexing="ij",
        )  # fmt: skip
        splats = flatten_ids[start:end].long()
        weights = _weights(means2d[0, splats], ray_transforms[0, splats], opacities[0, splats], x + 0.5, y + 0.5)
        alpha[y, x] = weights.sum(0)
        blended[y, x] = torch.einsum("nhw,nf->hwf", weights, features[splats])
    nothing = torch.full_like(alpha[None, ..., None], torch.nan)
    split = blended[None].split([colors.shape[-1], 3], -1)
    return split[0], alpha[None, ..., None], split[1], nothing, nothing


def _weights(centre: Tensor, M: Tensor, opacity: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """alpha_i prod_{j<i} (1 - alpha_j) of n splats at the pixels (n, h, w)."""
    x, y = x.to(M), y.to(M)
    h_u = x[..., None] * M[:, None, None, 2] - M[:, None, None, 0]
    h_v = y[..., None] * M[:, None, None, 2] - M[:, None, None, 1]
    u, v, w = torch.linalg.cross(h_u, h_v).unbind(-1)
    flat = w == 0
    w = torch.where(flat, 1.0, w)
    on_plane = (u / w) ** 2 + (v / w) ** 2
    dx, dy = centre[:, 0, None, None] - x, centre[:, 1, None, None] - y
    low_pass = FILTER_INV_SQUARE * (dx * dx + dy * dy)
    # A condition and not torch.minimum, whose gradient is shared between equals.
    exponent = 0.5 * torch.where(on_plane <= low_pass, on_plane, low_pass)
    alpha = (opacity[:, None, None] * torch.exp(-exponent)).clamp(max=ALPHA_MAX)
    alpha = torch.where(flat | (alpha < ALPHA_THRESHOLD), 0.0, alpha)
    behind = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(behind[:1]), behind[:-1]])
    return torch.where(behind > TRANSMITTANCE_MIN, alpha * before, 0.0)
