"""Contours of masks with sub-pixel positions and normals, and the pairing of two contours."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numba import njit

# The normal comes from the first moments of the mask in a window of this radius: long enough to bridge pixel steps.
NORMAL_RADIUS = 3


@njit(cache=True, nogil=True)
def resampled(image: Float[np.ndarray, "h w"], width: int, height: int) -> Float[np.ndarray, "height width"]:
    """Mean of 2 x 2 bilinear samples per new pixel, which is an area mean for reductions down to a quarter."""
    h, w = image.shape
    out = np.empty((height, width), np.float32)
    for row in range(height):
        for column in range(width):
            total = 0.0
            for k in range(4):
                x = min(max((column + 0.25 + 0.5 * (k % 2)) * w / width - 0.5, 0.0), w - 1.0)
                y = min(max((row + 0.25 + 0.5 * (k // 2)) * h / height - 0.5, 0.0), h - 1.0)
                c, r = min(int(x), max(w - 2, 0)), min(int(y), max(h - 2, 0))
                c2, r2 = min(c + 1, w - 1), min(r + 1, h - 1)
                a, b = x - c, y - r
                total += (1 - b) * ((1 - a) * image[r, c] + a * image[r, c2]) + b * ((1 - a) * image[r2, c] + a * image[r2, c2])
            out[row, column] = 0.25 * total
    return out


@njit(cache=True, nogil=True)
def contour_points(
    image: Float[np.ndarray, "h w"], margin: int
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Int[np.ndarray, "n 2"]]:
    """Where neighbouring pixels lie on either side of 0.5: positions (pixel centres at +0.5), outward unit normals, and the
    (row, column) of the inner pixel. Points within `margin` pixels of the border are left out: the picture ends there, not
    the person."""
    h, w = image.shape
    count = 0
    for row in range(margin, h - margin - 1):
        for column in range(margin, w - margin - 1):
            inside = image[row, column] > 0.5
            count += (inside != (image[row, column + 1] > 0.5)) + (inside != (image[row + 1, column] > 0.5))
    points, normals, inner = np.empty((count, 2)), np.empty((count, 2)), np.empty((count, 2), np.int64)
    n = 0
    for row in range(margin, h - margin - 1):
        for column in range(margin, w - margin - 1):
            a = image[row, column]
            for down in range(2):
                row2, column2 = row + down, column + 1 - down
                b = image[row2, column2]
                if (a > 0.5) == (b > 0.5):
                    continue
                t = (0.5 - a) / (b - a)
                points[n, 0], points[n, 1] = column + 0.5 + t * (1 - down), row + 0.5 + t * down
                inner[n, 0], inner[n, 1] = (row, column) if a > 0.5 else (row2, column2)
                nx, ny = _normal(image, inner[n, 0], inner[n, 1])
                normals[n, 0], normals[n, 1] = nx, ny
                n += 1
    return points, normals, inner


@njit(cache=True, nogil=True)
def _normal(image, row, column):
    """Away from the window's centre of mass."""
    h, w = image.shape
    mx, my = 0.0, 0.0
    for r in range(max(row - NORMAL_RADIUS, 0), min(row + NORMAL_RADIUS + 1, h)):
        for c in range(max(column - NORMAL_RADIUS, 0), min(column + NORMAL_RADIUS + 1, w)):
            if image[r, c] > 0.5:
                mx += c - column
                my += r - row
    norm = np.sqrt(mx * mx + my * my) + 1e-12
    return -mx / norm, -my / norm


@njit(cache=True, nogil=True)
def paired(
    points: Float[np.ndarray, "n 2"],
    normals: Float[np.ndarray, "n 2"],
    targets: Float[np.ndarray, "m 2"],
    target_normals: Float[np.ndarray, "m 2"],
    max_distance: float,
    min_cosine: float,
) -> Int[np.ndarray, " n"]:
    """Index of the nearest target whose normal agrees, -1 where none is near. Brute force: 160 x 1500 take 0.2 ms."""
    out = np.full(len(points), -1, np.int64)
    for i in range(len(points)):
        best = max_distance * max_distance
        for j in range(len(targets)):
            dx, dy = targets[j, 0] - points[i, 0], targets[j, 1] - points[i, 1]
            square = dx * dx + dy * dy
            if square < best:
                cosine = normals[i, 0] * target_normals[j, 0] + normals[i, 1] * target_normals[j, 1]
                if cosine > min_cosine:
                    best, out[i] = square, j
    return out


def bounding_box(inside: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int] | None:
    """x0, y0, x1, y1 (ends excluded); None when nothing is inside."""
    columns, rows = np.flatnonzero(inside.any(0)), np.flatnonzero(inside.any(1))
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
