"""Between pictures (row-major, channels last) and per-tile buffers, including what depth and normals are divided by.

A picture is flat here, and comes with its number of channels; zero channels: it is not asked for. In a tile's buffer every
picture's channels are padded to a multiple of four, in the order colours, normals, logits, and depth comes last.
"""

from fmgs_core.raster.constants import ALPHA_MIN
from fmgs_core.raster.kernel import kernel_part
from fmgs_core.raster.simd import (
    BLOCK,
    LANES,
    full,
    larger,
    load,
    load_pixels,
    root,
    store,
    store_pixels,
    transposed,
    untransposed,
    where,
)
from fmgs_core.raster.tiles import TILE

_LENGTH_MIN = 1e-12  # as torch.nn.functional.normalize


@kernel_part
def write_tile(x0, y0, size, transmittance, blended, widths, alpha, rgb, depth, normal, logits, inverse_length):
    """Tile buffers of the forward pass to pictures. `widths`: channels of colours, normals, logits and depth.

    The normals in `blended` are normalised on the way; `inverse_length` keeps by what (zero where there is none).
    """
    n_rgb, n_normal, n_logits, n_depth = widths
    at_normal, at_logits = padded(n_rgb), padded(n_rgb) + padded(n_normal)
    quantities = at_logits + padded(n_logits) + n_depth
    for b in range(TILE * TILE // LANES):
        x, y = x0 + b % BLOCK * BLOCK, y0 + b // BLOCK * BLOCK
        pixels, lines = min(size[1] - x, BLOCK), min(size[0] - y, BLOCK)
        if pixels <= 0 or lines <= 0:
            continue
        at, first = b * quantities * LANES, y * size[1] + x
        opaque = 1.0 - load(transmittance, b * LANES)
        seen = opaque >= ALPHA_MIN
        _write_single(alpha, first, size[1], pixels, lines, opaque)
        _write(rgb, n_rgb, first, size[1], pixels, lines, blended, at)
        if n_normal:
            _normalise(blended, at + at_normal * LANES, seen, inverse_length, b)
            _write(normal, n_normal, first, size[1], pixels, lines, blended, at + at_normal * LANES)
        _write(logits, n_logits, first, size[1], pixels, lines, blended, at + at_logits * LANES)
        if n_depth:
            value = load(blended, at + (quantities - 1) * LANES) / opaque
            _write_single(depth, first, size[1], pixels, lines, where(seen, value, full(float("nan"))))


@kernel_part
def read_tile_gradients(
    x0, y0, size, transmittance, widths, has_alpha, grad_alpha, grad_rgb, grad_depth, grad_normal, grad_logits,
    depth, normal, inverse_length, grad_blended, behind,
):  # fmt: skip
    """Gradients of the pictures to those of the blended sums; `behind` becomes T dL/dT of the final transmittance T.

    Pixels without a depth or normal (alpha under ALPHA_MIN) pass no gradient back, whatever arrives there.
    """
    n_rgb, n_normal, n_logits, n_depth = widths
    at_normal, at_logits = padded(n_rgb), padded(n_rgb) + padded(n_normal)
    quantities = at_logits + padded(n_logits) + n_depth
    for b in range(TILE * TILE // LANES):
        x, y = x0 + b % BLOCK * BLOCK, y0 + b // BLOCK * BLOCK
        pixels, lines = max(min(size[1] - x, BLOCK), 0), max(min(size[0] - y, BLOCK), 0)
        at, first = b * quantities * LANES, y * size[1] + x
        remaining = load(transmittance, b * LANES)
        opaque = 1.0 - remaining
        seen = opaque >= ALPHA_MIN
        total = full(0.0)
        if has_alpha:
            total = _read_single(grad_alpha, first, size[1], pixels, lines)
        _read(grad_rgb, n_rgb, first, size[1], pixels, lines, grad_blended, at)
        if n_normal:
            _read(grad_normal, n_normal, first, size[1], pixels, lines, grad_blended, at + at_normal * LANES)
            n = _read_four(normal, n_normal, 0, first, size[1], pixels, lines)
            _normalise_backward(n, grad_blended, at + at_normal * LANES, seen, load(inverse_length, b * LANES))
        _read(grad_logits, n_logits, first, size[1], pixels, lines, grad_blended, at + at_logits * LANES)
        if n_depth:
            per_weight = where(seen, _read_single(grad_depth, first, size[1], pixels, lines) / opaque, full(0.0))
            store(grad_blended, at + (quantities - 1) * LANES, per_weight)
            value = where(seen, _read_single(depth, first, size[1], pixels, lines), full(0.0))
            total -= per_weight * value
        store(behind, b * LANES, -total * remaining)


@kernel_part
def padded(channels):
    """The next multiple of four."""
    return (channels + 3) // 4 * 4


@kernel_part
def _write(picture, channels, first, width, pixels, lines, blended, at):
    for c in range(0, channels, 4):
        here = at + c * LANES
        rows = transposed(
            load(blended, here), load(blended, here + LANES), load(blended, here + 2 * LANES), load(blended, here + 3 * LANES)
        )
        for line in range(4):
            if line < lines:
                place = (first + line * width) * channels + c
                store_pixels(picture, place, channels, pixels, min(channels - c, 4), rows[line])


@kernel_part
def _read(picture, channels, first, width, pixels, lines, blended, at):
    for c in range(0, channels, 4):
        rows = _read_four(picture, channels, c, first, width, pixels, lines)
        for q in range(4):
            store(blended, at + (c + q) * LANES, rows[q])


@kernel_part
def _read_four(picture, channels, c, first, width, pixels, lines):
    """Channels c to c + 3 of a block, zero beyond the picture and its channels."""
    count, place, line = min(channels - c, 4), first * channels + c, width * channels
    return untransposed(
        load_pixels(picture, place, channels, pixels if lines > 0 else 0, count),
        load_pixels(picture, place + line, channels, pixels if lines > 1 else 0, count),
        load_pixels(picture, place + 2 * line, channels, pixels if lines > 2 else 0, count),
        load_pixels(picture, place + 3 * line, channels, pixels if lines > 3 else 0, count),
    )


@kernel_part
def _write_single(picture, first, width, pixels, lines, row):
    """A picture of one channel: its lines are what pixels are to others."""
    store_pixels(picture, first, width, lines, pixels, row)


@kernel_part
def _read_single(picture, first, width, pixels, lines):
    return load_pixels(picture, first, width, lines, pixels)


@kernel_part
def _normalise(blended, at, seen, inverse_length, b):
    nx, ny, nz = load(blended, at), load(blended, at + LANES), load(blended, at + 2 * LANES)
    length = larger(root(nx * nx + ny * ny + nz * nz), full(_LENGTH_MIN))
    inverse = where(seen, 1.0 / length, full(0.0))
    store(inverse_length, b * LANES, inverse)
    store(blended, at, nx * inverse)
    store(blended, at + LANES, ny * inverse)
    store(blended, at + 2 * LANES, nz * inverse)


@kernel_part
def _normalise_backward(n, grad, at, seen, inverse):
    gx, gy, gz = load(grad, at), load(grad, at + LANES), load(grad, at + 2 * LANES)
    along, none = n[0] * gx + n[1] * gy + n[2] * gz, full(0.0)
    store(grad, at, where(seen, (gx - along * n[0]) * inverse, none))
    store(grad, at + LANES, where(seen, (gy - along * n[1]) * inverse, none))
    store(grad, at + 2 * LANES, where(seen, (gz - along * n[2]) * inverse, none))
