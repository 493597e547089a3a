"""Contour residuals: the drawn body's outline against the mask's, at a working size of about 200 pixels stature."""

from dataclasses import dataclass, replace

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int

from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import vertex_normals
from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.contours import bounding_box, contour_points, paired, resampled
from fmgs_core.tracking.inflation import InflationField
from fmgs_core.tracking.kinematics import NUM_JOINTS, BodyPose, RiderPoints, Skeleton, owning_joints, posed_points
from fmgs_core.tracking.solver import ContourTerms
from fmgs_core.types import Camera

WORKING_HEIGHT_PX, NUM_ROWS = 200.0, 160
# In units of the person's height: noise of the contour, and the farthest mask contour a body point may be paired with.
CONTOUR_SIGMA_HEIGHTS, GATE_HEIGHTS, MIN_COSINE, HUBER = 0.012, 0.06, 0.6, 2.0
# All rows together weigh as much as this many; hair and hands count less, the template has neither's form.
TOTAL_WEIGHT, LOOSE_WEIGHT = 0.7 * 70.0, 0.3
HEAD, WRISTS = 15, (20, 21)
# Room around the mask for a body that does not lie on it yet, and the fewest working pixels that make a person.
PADDING_HEIGHTS, MIN_MASK_PX = 0.15, 50
# Contours this near to the picture's border are cut by it [working pixels].
BORDER_PX = 2


@dataclass(frozen=True, eq=False)
class MaskOutline:
    """The mask of one frame at working size."""

    picture: Camera
    """Of the whole picture."""
    working: Camera
    """Of the working picture, a reduced crop around the mask. Both have identity pose: bodies are drawn in camera axes."""
    inside: Bool[np.ndarray, "h w"]
    points: Float[np.ndarray, "m 2"]
    """Contour [working px]."""
    normals: Float[np.ndarray, "m 2"]
    """Outward."""

    @property
    def scale(self) -> float:
        """Working pixels per picture pixel."""
        return self.working.K[0, 0] / self.picture.K[0, 0]


@dataclass(frozen=True, eq=False)
class SilhouetteFit:
    """The body's outline compared with the mask's, for one pose."""

    terms: ContourTerms
    iou: float
    vertices: Int[np.ndarray, " n"]
    """The body vertex of each row."""


class Silhouette:
    """The surface of one body, dressed by the inflation field, for comparison with masks."""

    def __init__(self, body: BodyModel, skeleton: Skeleton, num_betas: int):
        self._skeleton = skeleton
        self._faces = np.ascontiguousarray(body.faces[body.kept_faces])
        self._rest = body.v_template.astype(np.float64)
        self._normals = vertex_normals(body.v_template, body.faces).astype(np.float64)
        self._dirs = np.ascontiguousarray(body.shapedirs[:, :, :num_betas], dtype=np.float64)
        self._joints, self._weights = _strongest_joints(body)
        owner = self._joints[:, 0]
        self._is_hand = np.isin(owner, WRISTS)
        self._row_weight = np.where(self._is_hand | (owner == HEAD), LOOSE_WEIGHT, 1.0)
        self.inflation = InflationField(body.v_template.astype(np.float64))
        self._surface = self._dressed()

    def vertices(self, pose: BodyPose) -> Float[np.ndarray, "V 3"]:
        """Dressed surface in camera axes [m]."""
        return posed_points(self._surface, self._skeleton, pose)

    def compare(self, pose: BodyPose, outline: MaskOutline, height_px: float) -> SilhouetteFit:
        """Draws the body and pairs its outline with the mask's."""
        v = self.vertices(pose)
        drawing = draw_mesh(v, self._faces, outline.working)
        drawn = drawing.face >= 0
        union = (drawn | outline.inside).sum()
        points, normals, inner = contour_points(drawn.astype(np.float32), BORDER_PX)
        step = max(1, len(points) // NUM_ROWS)
        points, normals, inner = points[::step], normals[::step], inner[::step]
        gate = GATE_HEIGHTS * height_px * outline.scale
        match = paired(points, normals, outline.points, outline.normals, gate, MIN_COSINE)
        points, inner, match = points[match >= 0], inner[match >= 0], match[match >= 0]
        vertices = self._nearest_vertices(drawing.face, drawing.barycentric, inner)
        normals, offset = outline.normals[match], outline.points[match] - points
        # The vertex lies inside of the drawn outline by a part of its triangle; it should end as far inside of the mask's.
        targets = outline.picture.project(v[vertices]) + offset / outline.scale
        iou = float((drawn & outline.inside).sum() / union) if union else 0.0
        return SilhouetteFit(self._terms(vertices, normals, targets, height_px), iou, vertices)

    def dress(self, fit: SilhouetteFit, pose: BodyPose, outline: MaskOutline) -> None:
        """Lets the surface follow the gaps that `pose`, solved with the fit's terms, has left open.

        Hands keep their skin: the template's are open, people's seldom.
        """
        points = posed_points(fit.terms.points, self._skeleton, pose)
        gaps_px = ((fit.terms.targets - outline.picture.project(points)) * fit.terms.normals).sum(1)
        gaps_m = gaps_px * points[:, 2] / outline.picture.K[0, 0]
        self.inflation.observe(fit.vertices, gaps_m, ~self._is_hand[fit.vertices] & np.isfinite(gaps_m))
        self._surface = self._dressed()

    def no_terms(self) -> ContourTerms:
        return self._terms(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 2)), 1.0)

    def _dressed(self) -> RiderPoints:
        rest = self._rest + self.inflation.per_vertex()[:, None] * self._normals
        return RiderPoints(rest, self._dirs, self._joints, self._weights)

    def _terms(self, vertices, normals, targets, height_px: float) -> ContourTerms:
        points = RiderPoints(*(array[vertices] for array in self._surface))
        weights = self._row_weight[vertices] * (TOTAL_WEIGHT / max(60, len(vertices)))
        return ContourTerms(points, normals, targets, weights, CONTOUR_SIGMA_HEIGHTS * height_px, HUBER)

    def _nearest_vertices(self, face, barycentric, inner) -> Int[np.ndarray, " n"]:
        rows, columns = inner.T
        w = barycentric[rows, columns]
        corner = np.stack([1 - w.sum(1), w[:, 0], w[:, 1]], 1).argmax(1)
        return self._faces[face[rows, columns], corner]


def mask_outline(mask: Float[np.ndarray, "h w"], camera: Camera, height_px: float) -> MaskOutline | None:
    """The largest piece of the mask, at working size; None when there is too little of it.

    Raises:
        ValueError: the mask has not the size of the picture.
    """
    if mask.shape != (camera.height, camera.width):
        raise ValueError(f"mask: expected the picture's shape {(camera.height, camera.width)}, got {mask.shape}")
    box = bounding_box(mask > 0.5)
    if box is None:
        return None
    x0, y0, x1, y1 = _padded(box, round(PADDING_HEIGHTS * height_px), camera)
    scale = min(1.0, WORKING_HEIGHT_PX / height_px)
    width, height = max(8, round(scale * (x1 - x0))), max(8, round(scale * (y1 - y0)))
    small = resampled(np.ascontiguousarray(mask[y0:y1, x0:x1], dtype=np.float32), width, height)
    inside = _largest_piece(small > 0.5)
    if inside.sum() < MIN_MASK_PX:
        return None
    points, normals, _ = contour_points(np.where(inside | (small <= 0.5), small, np.float32(0)), BORDER_PX)
    picture = replace(camera, T_camera_world=np.eye(4))
    working = picture.cropped(x0, y0, x1 - x0, y1 - y0).resized(width, height)
    return MaskOutline(picture, working, inside, points, normals)


def _padded(box: tuple[int, int, int, int], margin: int, camera: Camera) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    return max(0, x0 - margin), max(0, y0 - margin), min(camera.width, x1 + margin), min(camera.height, y1 + margin)


def _largest_piece(inside: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    pieces = np.empty(inside.shape, np.int32)
    scipy.ndimage.label(inside, output=pieces)
    if pieces.max() < 2:
        return inside
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def _strongest_joints(body: BodyModel) -> tuple[Int[np.ndarray, "V 4"], Float[np.ndarray, "V 4"]]:
    """The four body joints of most weight per vertex, strongest first, hands and face folded into wrists and head."""
    folded = np.zeros((body.num_vertices, NUM_JOINTS))
    for joint, owner in enumerate(owning_joints(body.parents)):
        folded[:, owner] += body.skin_weights[:, joint]
    joints = np.argsort(-folded, axis=1)[:, :4]
    weights = np.take_along_axis(folded, joints, 1)
    return np.ascontiguousarray(joints), weights / weights.sum(1, keepdims=True)
