"""Pictures of a triangle mesh: a z-buffer at several samples per pixel, Lambertian light that stands in the world, one shadow.

Nothing of the splat rasterizer takes part, so the truth shares none of its errors.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from fmgs_core.body.drawing import MeshDrawing, draw_mesh
from fmgs_core.body.skinning import vertex_normals
from fmgs_core.geometry import look_at
from fmgs_core.types import Camera
from subjects.pieces import DressedPerson
from subjects.textures import MATERIALS

# Odd, so that one sample lies on the pixel's centre, where depth, normal and label are read.
SAMPLES = 3
# Of the filter that averages samples, in pixels: Blackman-Harris over 1.5, as the format describes.
_FILTER_PX = 1.5
_SHADOW_PX, _SHADOW_SPAN_M, _SHADOW_BIAS_M, _PENUMBRA_M = 900, 3.2, 0.012, 0.02
_MIN_FACING = 1e-3


@dataclass(frozen=True)
class Light:
    """Fixed in the world. Radiances are linear RGB; white cloth facing the key light alone shines with `key`."""

    towards_key: tuple[float, float, float]
    key: tuple[float, float, float]
    towards_fill: tuple[float, float, float]
    fill: tuple[float, float, float]
    above: tuple[float, float, float]
    below: tuple[float, float, float]
    """Ambient light from above and from below, by the normal's height between them."""


@dataclass(frozen=True)
class Drawn:
    """A person before any background."""

    rgb: Float[np.ndarray, "h w 3"]
    """sRGB colour in [0, 1], not multiplied by alpha."""
    alpha: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    """Camera z [m] at the pixel's centre; NaN where nothing is."""
    normal: Float[np.ndarray, "h w 3"]
    """Camera axes, z < 0; zeros where nothing is."""
    labels: UInt8[np.ndarray, "h w"]


def draw_person(person: DressedPerson, vertices: Float[np.ndarray, "V 3"], camera: Camera, light: Light) -> Drawn:
    """Draws posed world vertices; only the part of the picture that the person may fill is computed."""
    box = _box(vertices, camera)
    part = camera.cropped(box[0], box[1], box[2] - box[0], box[3] - box[1])
    fine = part.resized(part.width * SAMPLES, part.height * SAMPLES)
    drawing = draw_mesh(vertices, person.mesh.faces, fine)
    seen = drawing.face >= 0
    normal, lit_side = _normals(person, vertices, drawing, fine)
    linear = np.zeros((*seen.shape, 4), np.float32)
    linear[seen, :3] = _shaded(person, vertices, drawing, normal, lit_side, light)
    linear[seen, 3] = 1.0
    filtered = _filtered(linear)
    rgb = _srgb(filtered[..., :3] / np.maximum(filtered[..., 3:], 1e-6))
    centers = (slice(SAMPLES // 2, None, SAMPLES),) * 2
    normals, labels = np.zeros((*seen.shape, 3), np.float32), np.zeros(seen.shape, np.uint8)
    normals[seen] = normal @ camera.T_camera_world[:3, :3].T
    labels[seen] = person.mesh.labels[drawing.face[seen]]
    maps = (rgb, filtered[..., 3], drawing.depth[centers], normals[centers], labels[centers])
    return Drawn(*(_placed(m, box, camera, np.nan if m is maps[2] else 0) for m in maps))


def _box(vertices: Float[np.ndarray, "V 3"], camera: Camera) -> tuple[int, int, int, int]:
    pixels = camera.project(vertices)
    low, high = np.floor(pixels.min(0)).astype(int) - 2, np.ceil(pixels.max(0)).astype(int) + 2
    x0, y0 = np.clip(low, 0, (camera.width - 1, camera.height - 1)).tolist()
    x1, y1 = np.clip(high, (x0 + 1, y0 + 1), (camera.width, camera.height)).tolist()
    return x0, y0, x1, y1


def _placed(values: np.ndarray, box: tuple[int, int, int, int], camera: Camera, empty: float) -> np.ndarray:
    out = np.full((camera.height, camera.width, *values.shape[2:]), empty, values.dtype)
    out[box[1] : box[3], box[0] : box[2]] = values
    return out


def _interpolated(values: Float[np.ndarray, "V N"], person: DressedPerson, drawing: MeshDrawing) -> Float[np.ndarray, "n N"]:
    """Vertex values at the samples that see something."""
    seen = drawing.face >= 0
    corners, w = person.mesh.faces[drawing.face[seen]], drawing.barycentric[seen].astype(np.float64)
    a, b, c = (values[corners[:, k]] for k in range(3))
    return a + w[:, :1] * (b - a) + w[:, 1:] * (c - a)


def _normals(
    person: DressedPerson, vertices: Float[np.ndarray, "V 3"], drawing: MeshDrawing, camera: Camera
) -> tuple[Float[np.ndarray, "n 3"], np.ndarray]:
    """Smooth world normals of the side that is seen, turned just far enough to face the camera, and whether it is the outer."""
    R = camera.T_camera_world[:3, :3]
    seen = drawing.face >= 0
    triangles = vertices[person.mesh.faces]
    outward = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    eye = -R.T @ camera.T_camera_world[:3, 3]
    outer = ((eye - triangles[:, 0]) * outward).sum(1) > 0
    side = outer[drawing.face[seen]]
    normal = _interpolated(vertex_normals(vertices, person.mesh.faces), person, drawing) @ R.T
    normal *= np.where(side, 1.0, -1.0)[:, None]
    normal[:, 2] = np.minimum(normal[:, 2], -_MIN_FACING)
    return (normal / np.linalg.norm(normal, axis=1, keepdims=True)) @ R, side


def _shaded(
    person: DressedPerson,
    vertices: Float[np.ndarray, "V 3"],
    drawing: MeshDrawing,
    normal: Float[np.ndarray, "n 3"],
    outer: np.ndarray,
    light: Light,
) -> Float[np.ndarray, "n 3"]:
    """Linear colours: albedo times key light (where no shadow falls), fill light and ambient light.

    Insides of clothes get half of the ambient light: what is inside is mostly covered.
    """
    key, fill = (np.asarray(d) / np.linalg.norm(d) for d in (light.towards_key, light.towards_fill))
    world = _interpolated(vertices, person, drawing)
    lit = _unshadowed(vertices, person, world + 0.004 * normal, key) * np.clip(normal @ key, 0, 1)
    # The fill is large and near: it reaches round the body.
    filled = np.clip(normal @ fill + 0.35, 0, None) / 1.35
    height = 0.5 + 0.5 * normal[:, 1:2]
    ambient = (np.asarray(light.below) * (1 - height) + np.asarray(light.above) * height) * np.where(outer, 1.0, 0.5)[:, None]
    radiance = lit[:, None] * np.asarray(light.key) + filled[:, None] * np.asarray(light.fill) + ambient
    return _albedo(person, drawing) * radiance


def _albedo(person: DressedPerson, drawing: MeshDrawing) -> Float[np.ndarray, "n 3"]:
    points = _interpolated(person.mesh.texture, person, drawing)
    owner = person.piece_of_face[drawing.face[drawing.face >= 0]]
    srgb = np.zeros_like(points)
    for i, material in enumerate(person.materials):
        srgb[owner == i] = MATERIALS[material](points[owner == i])
    return np.clip(srgb, 0, 1) ** 2.2


def _unshadowed(
    vertices: Float[np.ndarray, "V 3"], person: DressedPerson, points: Float[np.ndarray, "n 3"], towards: np.ndarray
) -> Float[np.ndarray, " n"]:
    """Share in [0, 1] of the key light's disc that each point sees (percentage-closer filtering, Reeves et al. 1987)."""
    center = (vertices.min(0) + vertices.max(0)) / 2
    distance = 30.0
    focal = _SHADOW_PX * distance / _SHADOW_SPAN_M
    K = np.array([[focal, 0, _SHADOW_PX / 2], [0, focal, _SHADOW_PX / 2], [0, 0, 1]])
    camera = Camera(K, _SHADOW_PX, _SHADOW_PX, look_at(center + distance * towards, center))
    depth = np.nan_to_num(draw_mesh(vertices, person.mesh.faces, camera).depth, nan=np.inf)
    p = points @ camera.T_camera_world[:3, :3].T + camera.T_camera_world[:3, 3]
    pixels, radius = camera.project(points), _PENUMBRA_M * focal / distance
    lit = np.zeros(len(points))
    steps = [(0.0, 0.0), *((np.cos(a) * r, np.sin(a) * r) for r in (0.5, 1.0) for a in np.arange(6) * np.pi / 3 + r)]
    for dx, dy in steps:
        column = np.clip(pixels[:, 0] + dx * radius, 0, _SHADOW_PX - 1).astype(int)
        row = np.clip(pixels[:, 1] + dy * radius, 0, _SHADOW_PX - 1).astype(int)
        lit += p[:, 2] < depth[row, column] + _SHADOW_BIAS_M
    return lit / len(steps)


def _filtered(samples: Float[np.ndarray, "H W 4"]) -> Float[np.ndarray, "h w 4"]:
    """Pixels from samples by a separable Blackman-Harris window centred on each pixel."""
    reach = int(_FILTER_PX * SAMPLES) // 2
    x = np.arange(-reach, reach + 1) / (_FILTER_PX * SAMPLES) + 0.5
    window = np.cos(2 * np.pi * np.arange(4) * x[:, None]) @ (0.35875, -0.48829, 0.14128, -0.01168)
    window = (window / window.sum()).astype(np.float32)
    for axis in (0, 1):
        padded = np.pad(samples, [(reach, reach) if a == axis else (0, 0) for a in range(3)])
        first = SAMPLES // 2
        count = samples.shape[axis] // SAMPLES
        taps = [np.take(padded, first + k + SAMPLES * np.arange(count), axis) for k in range(2 * reach + 1)]
        samples = np.sum([w * tap for w, tap in zip(window, taps, strict=True)], axis=0)
    return samples


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Power 1 / 2.2, which the albedos are decoded with too."""
    return np.clip(linear, 0, 1) ** (1 / 2.2)
