"""z-buffer drawing of a triangle mesh: which face each pixel centre sees, how far away, and where on the face."""

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float, Int

from fmgs_core.types import Camera

# Faces with a vertex nearer than this are left out instead of clipped: a body this close is no picture of a person.
NEAR_M = 0.01


@dataclass(frozen=True)
class MeshDrawing:
    """What each pixel centre sees. Both sides of a face are drawn; of faces at equal depth the lower index wins."""

    face: Int[np.ndarray, "h w"]
    """int32; -1 where nothing is seen."""
    depth: Float[np.ndarray, "h w"]
    """Camera z [m], float32; NaN where nothing is seen."""
    barycentric: Float[np.ndarray, "h w 2"]
    """float32, perspective-correct weights of the vertices 1 and 2; vertex 0 has the rest. NaN where nothing is seen."""


def draw_mesh(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], camera: Camera) -> MeshDrawing:
    """Draws world-frame vertices. Serial and in face order, so that equal input gives equal bits.

    Faces with a vertex behind or closer than NEAR_M are skipped whole; so are faces with a vertex that is not finite.
    """
    shape = (camera.height, camera.width)
    face = np.full(shape, -1, np.int32)
    inverse_depth = np.zeros(shape, np.float64)
    barycentric = np.full((*shape, 2), np.nan, np.float32)
    pixels, z = _projected(np.asarray(vertices, dtype=np.float64), camera)
    _draw(pixels, z, np.ascontiguousarray(faces), face, inverse_depth, barycentric)
    depth = np.full(shape, np.nan, np.float32)
    np.divide(1.0, inverse_depth, out=depth, where=face >= 0, casting="same_kind")
    return MeshDrawing(face, depth, barycentric)


def _projected(vertices: Float[np.ndarray, "V 3"], camera: Camera) -> tuple[Float[np.ndarray, "V 2"], Float[np.ndarray, " V"]]:
    """Pixel coordinates and camera z; z is 0 where the vertex cannot be drawn."""
    with np.errstate(invalid="ignore", over="ignore"):
        p = vertices @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    drawable = np.isfinite(p).all(1) & (p[:, 2] >= NEAR_M)
    p[~drawable] = (0.0, 0.0, 1.0)
    pixels = (p @ camera.K.T)[:, :2] / p[:, 2:]
    return pixels, np.where(drawable, p[:, 2], 0.0)


@numba.njit(cache=True, nogil=True)
def _draw(pixels, z, faces, face, inverse_depth, barycentric):
    """1 / z is linear in the picture, so it is what is interpolated and compared (larger is nearer)."""
    height, width = face.shape
    for f in range(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        if z[i] == 0.0 or z[j] == 0.0 or z[k] == 0.0:
            continue
        x0, y0 = pixels[i, 0], pixels[i, 1]
        x1, y1 = pixels[j, 0] - x0, pixels[j, 1] - y0
        x2, y2 = pixels[k, 0] - x0, pixels[k, 1] - y0
        area = x1 * y2 - x2 * y1
        if area == 0.0:
            continue
        # Pixel c has its centre at c + 0.5: the first with centre >= low is ceil(low - 0.5).
        left = max(np.ceil(x0 + min(0.0, x1, x2) - 0.5), 0.0)
        right = min(np.floor(x0 + max(0.0, x1, x2) - 0.5), width - 1.0)
        top = max(np.ceil(y0 + min(0.0, y1, y2) - 0.5), 0.0)
        bottom = min(np.floor(y0 + max(0.0, y1, y2) - 0.5), height - 1.0)
        iz0, iz1, iz2 = 1.0 / z[i], 1.0 / z[j], 1.0 / z[k]
        for row in range(int(top), int(bottom) + 1):
            for column in range(int(left), int(right) + 1):
                px, py = column + 0.5 - x0, row + 0.5 - y0
                w1 = (px * y2 - x2 * py) / area
                w2 = (x1 * py - px * y1) / area
                w0 = 1.0 - w1 - w2
                # The slack closes the hair-line gaps that rounding would leave on edges shared by two faces.
                if w0 < -1e-9 or w1 < -1e-9 or w2 < -1e-9:
                    continue
                iz = w0 * iz0 + w1 * iz1 + w2 * iz2
                if iz > inverse_depth[row, column]:
                    inverse_depth[row, column] = iz
                    face[row, column] = f
                    barycentric[row, column, 0] = w1 * iz1 / iz
                    barycentric[row, column, 1] = w2 * iz2 / iz
