"""One floor under all frames: no sole is below it, and of somebody whose feet are seen the lowest is on it.

Whoever squats looks smaller and is taken to be farther away: by 200 mm on gt/dressed_a, where the floor brings the root's
error in depth from 23 to 14 mm in all. Its height is learnt from the same frames; jumps, stairs and raised feet are outliers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numba import njit

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.detection import Detection
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.kinematics import BETAS, RiderPoints, posed_points_and_jacobian
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera

# Behind this the heel, in front of that the ball of the foot [m from the ankle]; the other foot is farther to the side.
HEEL_Z, BALL_Z, FOOT_HALF_WIDTH = 0.0, 0.08, 0.1
# A sole that the detector sees with less says nothing of where the floor is.
SEEN = 0.5
# Fewer frames that see the soles tell no floor.
MIN_FRAMES = 8
# Where nobody knows how the camera is pitched: at 5 degrees the floor rises by 4 cm along half a metre.
UNPOSED_FACTOR = 4.0


class FloorTerms(NamedTuple):
    """What of the floor does not change while n poses are fitted."""

    soles: RiderPoints
    up: Float[np.ndarray, "n 3"]
    """The world's vertical in camera axes."""
    eye_heights: Float[np.ndarray, " n"]
    """[m]"""
    seen: Float[np.ndarray, "n 4"]
    """Visibility of the soles, 0 to 1."""
    sigmas: Float[np.ndarray, " n"]
    """[m]"""


def sole_points(body: BodyModel, num_betas: int) -> RiderPoints:
    """The lowest points of left and right heel, and of left and right ball of the foot; rigid with the ankles."""
    ankles = [body.joint_names.index(name) for name in ("left_ankle", "right_ankle")]
    vertices = [_lowest(body, ankle, ball=ball) for ball in (False, True) for ankle in ankles]
    joints, weights = np.zeros((4, 4), np.int64), np.zeros((4, 4))
    joints[:, 0], weights[:, 0] = ankles * 2, 1.0
    directions = np.ascontiguousarray(body.shapedirs[vertices, :, :num_betas], dtype=np.float64)
    return RiderPoints(body.v_template[vertices].astype(np.float64), directions, joints, weights)


def _lowest(body: BodyModel, ankle: int, *, ball: bool) -> int:
    x, _, z = (body.v_template - body.J_regressor[ankle] @ body.v_template).T
    part = np.flatnonzero((np.abs(x) < FOOT_HALF_WIDTH) & ((z > BALL_Z) if ball else (z < HEEL_Z)))
    return int(part[body.v_template[part, 1].argmin()])


def floor_terms(soles: RiderPoints, evidence: Sequence[FrameEvidence], sigma_m: float) -> FloorTerms:
    """A camera that moves has the floor in its world; one whose pose is unknown is taken to be level, and believed less."""
    T = np.stack([seen.camera.T_camera_world for seen in evidence])
    up = np.ascontiguousarray(T[:, :3, 1])
    unposed = (T == T_CAMERA_WORLD_UNPOSED).all((1, 2))
    sigmas = sigma_m * np.where(unposed, UNPOSED_FACTOR, 1.0)
    return FloorTerms(soles, up, -(T[:, :3, 3] * up).sum(1), np.stack([seen.soles_seen for seen in evidence]), sigmas)


def soles_seen(detection: Detection, camera: Camera) -> Float[np.ndarray, "4"]:
    """Visibility of the sole_points; 0 outside of the picture, where the detector only imagines them. Where a detector has no
    feet its ankles stand for them."""
    table = detection.table
    rows = table.rows("heel", "toe") or table.rows("ankle") * 2
    pixels = detection.pixels[rows]
    inside = ((pixels >= 0) & (pixels <= (camera.width, camera.height))).all(1)
    return np.where(inside, detection.trust[rows], 0.0)


def floor_height(heights: Float[np.ndarray, "n 4"], seen: Float[np.ndarray, "n 4"]) -> float:
    """Median of the lowest sole over the frames that see all soles [m]; NaN when they are too few."""
    tell = seen.min(1) >= SEEN
    return float(np.median(heights[tell].min(1))) if tell.sum() >= MIN_FRAMES else np.nan


@njit(cache=True, nogil=True)
def sole_heights(terms, frame, skeleton, pose, heights, rows):
    """Fills heights (4,) in the world [m], and rows (4, N), their derivatives by the pose's unknowns."""
    jacobian = np.empty((4, 3, BETAS + terms.soles.rest_dirs.shape[2]))
    points = posed_points_and_jacobian(terms.soles, skeleton, pose, jacobian)
    up = terms.up[frame]
    for q in range(4):
        heights[q] = terms.eye_heights[frame]
        rows[q] = 0.0
        for c in range(3):
            heights[q] += up[c] * points[q, c]
            rows[q] += up[c] * jacobian[q, c, :BETAS]


@njit(cache=True, nogil=True)
def add_floor_terms(above, seen, sigmas, rows, diagonal, gradient):
    """Adds the floor's Gauss-Newton system to H's blocks and to g = J' r; returns its cost.

    Below the floor each sole costs Huber's e^2, linear from one sigma on; above it only the lowest does, log(1 + e^2) (Cauchy).

    Args:
        above: (n, 4) heights of the soles over the floor [m].
        seen: (n, 4) weights.
        sigmas: (n,) [m].
        rows: (n, 4, N) derivatives of the heights.
        diagonal, gradient: (n, N, N) and (n, N).
    """
    cost = 0.0
    for k in range(len(above)):
        lowest = above[k].argmin()
        for q in range(above.shape[1]):
            r = above[k, q] / sigmas[k]
            if r > 0.0 and q != lowest:
                continue
            if r > 0.0:
                rho, weight = np.log1p(r * r), 1.0 / (1.0 + r * r)
            else:
                rho, weight = (r * r, 1.0) if r > -1.0 else (-2.0 * r - 1.0, -1.0 / r)
            cost += seen[k, q] * rho
            weight *= seen[k, q]
            J = rows[k, q] / sigmas[k]
            diagonal[k] += weight * np.outer(J, J)
            gradient[k] += weight * r * J
    return cost
