"""Between pictures (row-major, channels last) and per-tile buffers, including what depth and normals are divided by."""

import math

from fmgs_core.raster.constants import ALPHA_MIN
from fmgs_core.raster.kernel import kernel_part
from fmgs_core.raster.tiles import TILE

_LENGTH_MIN = 1e-12  # as torch.nn.functional.normalize


@kernel_part
def write_tile(x0, y0, transmittance, blended, widths, alpha, rgb, depth, normal, logits, normal_length):
    """Tile buffers of the forward pass to pictures. `widths`: blended colours, normals, logits, depths (each may be 0)."""
    n_rgb, n_normal, n_logits, n_depth = widths
    quantities = n_rgb + n_normal + n_logits + n_depth
    for y in range(min(TILE, alpha.shape[0] - y0)):
        for x in range(min(TILE, alpha.shape[1] - x0)):
            at, i, j = y * quantities * TILE + x, y0 + y, x0 + x
            opaque = 1 - transmittance[y * TILE + x]
            alpha[i, j] = opaque
            for c in range(n_rgb):
                rgb[i, j, c] = blended[at + c * TILE]
            at += n_rgb * TILE
            if n_normal and opaque >= ALPHA_MIN:
                nx, ny, nz = blended[at], blended[at + TILE], blended[at + 2 * TILE]
                length = max(math.sqrt(nx * nx + ny * ny + nz * nz), _LENGTH_MIN)
                normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = nx / length, ny / length, nz / length
                normal_length[i, j] = length
            at += n_normal * TILE
            for c in range(n_logits):
                logits[i, j, c] = blended[at + c * TILE]
            if n_depth and opaque >= ALPHA_MIN:
                depth[i, j] = blended[at + n_logits * TILE] / opaque


@kernel_part
def read_tile_gradients(
    x0, y0, size, transmittance, widths, has_alpha, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits,
    depth, normal, normal_length, grad_blended, behind,
):  # fmt: skip
    """Gradients of the pictures to those of the blended sums; `behind` becomes T dL/dT of the final transmittance T.

    Pixels without a depth or normal (alpha under ALPHA_MIN) pass no gradient back, whatever arrives there.
    """
    n_rgb, n_normal, n_logits, n_depth = widths
    quantities = n_rgb + n_normal + n_logits + n_depth
    height, width = size
    grad_blended[: TILE * TILE * quantities] = 0
    behind[:] = 0
    for y in range(min(TILE, height - y0)):
        for x in range(min(TILE, width - x0)):
            at, i, j = y * quantities * TILE + x, y0 + y, x0 + x
            remaining = transmittance[y * TILE + x]
            opaque = 1 - remaining
            total = grad_alpha[i, j] if has_alpha else 0.0
            for c in range(n_rgb):
                grad_blended[at + c * TILE] = grad_rgb[i, j, c]
            at += n_rgb * TILE
            if n_normal and opaque >= ALPHA_MIN:
                nx, ny, nz = normal[i, j, 0], normal[i, j, 1], normal[i, j, 2]
                gx, gy, gz = grad_normal[i, j, 0], grad_normal[i, j, 1], grad_normal[i, j, 2]
                along, inverse = nx * gx + ny * gy + nz * gz, 1 / normal_length[i, j]
                grad_blended[at] = (gx - along * nx) * inverse
                grad_blended[at + TILE] = (gy - along * ny) * inverse
                grad_blended[at + 2 * TILE] = (gz - along * nz) * inverse
            at += n_normal * TILE
            for c in range(n_logits):
                grad_blended[at + c * TILE] = grad_logits[i, j, c]
            if n_depth and opaque >= ALPHA_MIN:
                grad_blended[at + n_logits * TILE] = grad_depth[i, j] / opaque
                total -= grad_depth[i, j] / opaque * depth[i, j]
            behind[y * TILE + x] = -total * remaining
