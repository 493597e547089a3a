"""Clothes, shoes and hair made from the body template: offset shells of its surface, hulls, and cloth that hangs free.

Cuts are fields on the mean body's T-pose (pelvis at the origin, metres), positive inside, so that they fit every shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from fmgs_core.body.default import default_body
from fmgs_core.body.parts import SAPIENS28_NAMES, sapiens_labels
from fmgs_core.body.skinning import vertex_normals
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel
from subjects.pieces import Piece, clipped, hanging, smoothed, tube

UPPER, LOWER, HAIR = (SAPIENS28_NAMES.index(name) for name in ("Upper_Clothing", "Lower_Clothing", "Hair"))
# Shells are made from a finer template, whose torso has edges of 13 mm instead of 20, so that folds have room.
_SHELL_FACES = 48_000
# Skin reaches this far under cloth that lies on it [m].
_UNDERLAP_M = 0.015
_ANGLES = 144


@dataclass(frozen=True, eq=False)
class Wearer:
    """A body of one shape, at the template's resolution or a finer one."""

    body: BodyModel
    vertices: Float[np.ndarray, "V 3"]
    """Shaped, T-pose [m]."""

    @property
    def rest(self) -> Float[np.ndarray, "V 3"]:
        """The mean body's vertices, on which fields are defined."""
        return self.body.v_template.astype(np.float64)

    def joint(self, name: str) -> Float[np.ndarray, "3"]:
        return (self.body.J_regressor @ self.vertices)[self.body.joint_names.index(name)]

    def on(self, *parts: str) -> Bool[np.ndarray, " V"]:
        """Vertices with a face of the named parts."""
        wanted = [self.body.part_names.index(name) for name in parts]
        on = np.zeros(self.body.num_vertices, bool)
        on[self.body.faces[np.isin(self.body.face_part, wanted)]] = True
        return on


def wearer(betas: Float[np.ndarray, " B"], *, fine: bool) -> Wearer:
    body = subdivided(default_body(), _SHELL_FACES).body if fine else default_body()
    return Wearer(body, (body.v_template + body.shapedirs @ betas).astype(np.float64))


def skin(who: Wearer, covers: Sequence[Float[np.ndarray, " V"]], material: str) -> Piece:
    """What the clothes' fields leave bare, and a little under their edges. Feet are in shoes: what shows above is the leg."""
    kept, labels = who.body.kept_faces, sapiens_labels(who.body)
    for side in ("Left", "Right"):
        foot, leg = (SAPIENS28_NAMES.index(f"{side}_{name}") for name in ("Foot", "Lower_Leg"))
        labels[labels == foot] = leg
    piece = Piece(who.vertices, who.body.faces[kept], who.body.skin_weights, who.rest, labels[kept], material)
    return clipped(piece, _UNDERLAP_M - np.max(covers, axis=0))


def shell(
    who: Wearer, field: Float[np.ndarray, " V"], offset: Float[np.ndarray, " V"], material: str, label: int, smoothing: int = 12
) -> Piece:
    """The body's surface inside the field, lifted by at least `offset` [m] and freed of the anatomy under it."""
    body = who.body
    normals = smoothed(vertex_normals(who.vertices, body.faces).astype(np.float64), body.faces, 3)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    loose = smoothed(who.vertices, body.faces, smoothing)
    lift = np.maximum(((loose - who.vertices) * normals).sum(1), 0.0)
    # Sideways smoothing would pull hands and toes together; only the lift is taken from it.
    vertices = who.vertices + normals * (offset + lift)[:, None]
    labels = np.full(body.num_faces, label, np.uint8)
    return clipped(Piece(vertices, body.faces, body.skin_weights, who.rest, labels, material), field)


def shirt_field(p: Float[np.ndarray, "V 3"], hem: float, sleeve: float, neck: float = 0.085) -> Float[np.ndarray, " V"]:
    """Torso above `hem` and arms up to |x| = sleeve [m]; `neck` is the radius of the opening."""
    opening = np.linalg.norm(p - (0.0, 0.605, 0.03), axis=1) - neck
    return np.minimum.reduce([p[:, 1] - hem, sleeve - np.abs(p[:, 0]), opening, 0.595 - p[:, 1]])


def trouser_field(p: Float[np.ndarray, "V 3"], hem: float, waist: float = 0.06) -> Float[np.ndarray, " V"]:
    return np.minimum(waist - p[:, 1], p[:, 1] - hem)


def shoe_field(p: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    return -0.915 - p[:, 1]


def folds(p: Float[np.ndarray, "V 3"], height_m: float, wave_m: float, seed: int) -> Float[np.ndarray, " V"]:
    """Wrinkles of cloth: waves of about `wave_m` in random directions, mostly across the limbs; from 0 to 2 height_m."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(5, 3)) * (0.7, 1.0, 0.7)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    waves = np.sin(p @ directions.T * (2 * np.pi / (wave_m * rng.uniform(0.8, 1.6, 5))) + rng.uniform(0, 6.3, 5))
    return height_m * (1 + np.tanh(waves.sum(1)))


def trousers(who: Wearer, hem: float, width_m: float, material: str, seed: int, waist: float = 0.06) -> Piece:
    """Trouser legs `width_m` off the shin at the hem; the two never cross the middle."""
    p = who.rest
    down = np.clip((-0.1 - p[:, 1]) / 0.7, 0, 1)
    offset = 0.008 + width_m * down + folds(p, 0.003, 0.07, seed) * (0.5 + down)
    piece = shell(who, trouser_field(p, hem, waist), offset, material, LOWER)
    side, below = np.sign(piece.texture[:, 0]), piece.texture[:, 1] < -0.13
    piece.vertices[below, 0] = (side * np.maximum(side * piece.vertices[:, 0], 0.006))[below]
    return piece


def skirt(who: Wearer, top: float, hem: float, flare_m: float, pleats: int, material: str, label: int, gap_m: float) -> Piece:
    """Cloth that hangs from the hips: around the widest of what is above, wider by `flare_m` at the hem, with pleats.

    Heights are those of the shaped body [m].
    """
    near = who.on("torso", "hips", "l_thigh", "r_thigh", "l_shin", "r_shin") & (np.abs(who.rest[:, 0]) < 0.22)
    points, heights = who.vertices[near], np.linspace(top, hem, 48)
    down = ((top - heights) / (top - hem))[:, None]
    angles = np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    radius = np.maximum.accumulate(_envelope(points, heights, angles), axis=0) + gap_m
    radius = radius + flare_m * down * (1 + 0.35 * down * np.cos(pleats * angles))
    return _hung(who, _rings(points, heights, angles, radius), label, material, near, 60)


def long_hair(who: Wearer, length: float, material: str) -> Piece:
    """Hair that falls from the head down to the height `length` below the head joint [m], open in front."""
    near = who.on("hair", "face", "neck", "torso") & (np.abs(who.rest[:, 0]) < 0.13) & (who.rest[:, 1] > 0.25)
    head = who.joint("head")
    top = who.vertices[who.on("hair"), 1].max() - 0.035
    heights, angles = np.linspace(top, head[1] - length, 40), np.linspace(0, 2 * np.pi, _ANGLES, endpoint=False)
    points = who.vertices[near]
    points = points[points[:, 2] < head[2] + 0.06]
    radius = np.maximum.accumulate(_envelope(points, heights, angles), axis=0) + 0.014 + 0.004 * np.cos(23 * angles)
    piece = _hung(who, _rings(points, heights, angles, radius), HAIR, material, near, 20)
    return clipped(piece, head[2] + 0.035 - piece.vertices[:, 2])


def hair_cap(who: Wearer, thickness_m: float, material: str, seed: int) -> Piece:
    on = who.on("hair").astype(np.float64)
    field = smoothed(on[:, None], who.body.faces, 6)[:, 0] - 0.5
    return shell(who, field, thickness_m + folds(who.rest, 0.003, 0.03, seed), material, HAIR, smoothing=30)


def hood(who: Wearer, material: str) -> Piece:
    """An egg around the head, open at the face."""
    on_head = who.on("hair", "face")
    low, high = who.vertices[on_head].min(0), who.vertices[on_head].max(0)
    center, radii = (low + high) / 2 + (0, -0.02, -0.02), (high - low) / 2 + (0.035, 0.06, 0.03)
    ball = trimesh.creation.icosphere(subdivisions=4)
    vertices = center + np.asarray(ball.vertices) * radii
    near = who.on("hair", "face", "neck")
    piece = hanging(
        vertices, np.asarray(ball.faces), UPPER, material, who.vertices[near], who.body.skin_weights[near], smoothing=20
    )
    front = center[2] + 0.55 * radii[2] - 0.35 * (vertices[:, 1] - center[1]) - vertices[:, 2]
    return clipped(piece, np.minimum(front, vertices[:, 1] - (center[1] - 0.9 * radii[1])))


def shoe(who: Wearer, side: str, material: str) -> Piece:
    """The hull of a foot, inflated and rounded; `side` is "l" or "r"."""
    foot = who.on(f"{side}_foot") & (who.rest[:, 1] < -0.9)
    points = who.vertices[foot]
    mesh = trimesh.convex.convex_hull(points)
    vertices, faces = trimesh.remesh.subdivide_to_size(mesh.vertices, mesh.faces, 0.015)[:2]
    mesh = trimesh.Trimesh(vertices, faces, process=True)
    vertices, faces = smoothed(np.asarray(mesh.vertices), np.asarray(mesh.faces), 6), np.asarray(mesh.faces)
    vertices = vertices + 0.009 * vertex_normals(vertices, faces)
    label = SAPIENS28_NAMES.index("Left_Shoe" if side == "l" else "Right_Shoe")
    piece = hanging(vertices, faces, label, material, points, who.body.skin_weights[foot], smoothing=2)
    return replace(piece, texture=vertices - (0.0, vertices[:, 1].min(), 0.0))


def _envelope(
    points: Float[np.ndarray, "n 3"], heights: Float[np.ndarray, " R"], angles: Float[np.ndarray, " A"]
) -> Float[np.ndarray, "R A"]:
    """Support function of the points near each height, about the axis of `_rings`: what cloth drawn tight would span."""
    flat = points[:, [0, 2]] - (0.0, points[:, 2].mean())
    reach = flat @ np.stack([np.sin(angles), np.cos(angles)])
    return np.stack([reach[np.abs(points[:, 1] - y) < 0.03].max(0, initial=0.0) for y in heights])


def _rings(
    points: Float[np.ndarray, "n 3"], heights: Float[np.ndarray, " R"], angles: Float[np.ndarray, " A"], radius: np.ndarray
) -> Float[np.ndarray, "R A 3"]:
    y = np.broadcast_to(heights[:, None], radius.shape)
    return np.stack([radius * np.sin(angles), y, radius * np.cos(angles) + points[:, 2].mean()], -1)


def _hung(who: Wearer, rings: np.ndarray, label: int, material: str, near: Bool[np.ndarray, " V"], smoothing: int) -> Piece:
    vertices, faces = tube(rings)
    return hanging(vertices, faces, label, material, who.vertices[near], who.body.skin_weights[near], smoothing)
