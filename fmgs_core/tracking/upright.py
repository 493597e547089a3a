"""Standing people stand upright: what one camera cannot see, how far the body leans towards it, gravity can tell.

MediaPipe's depth leans bodies towards the camera and away from it by 3 degrees on average and 10 at times, which hides in
the picture but puts the pelvis 5 cm off. Trunk and legs are pulled towards the vertical as long as the detector itself sees
them near it, or the pose that the fit starts from where the detector knows no depth; whoever bends or sits is left alone.
"""

import numpy as np
from jaxtyping import Float

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.detection import Detection, unit
from fmgs_core.tracking.kinematics import BodyPose, RiderPoints, Skeleton, posed_points
from fmgs_core.tracking.solver import AxisTerms
from fmgs_core.types import T_CAMERA_WORLD_UNPOSED, Camera

BONES = np.array([[2, 1], [1, 0]])  # rows of upright_points: ankles to pelvis, pelvis to neck
# Of the unit axis; where nobody knows how the camera is pitched, it is taken to be level and believed half as much.
SIGMA, UNPOSED_SIGMA = 0.07, 0.14
# A detected axis this far from the vertical is somebody who does not stand.
MAX_LEAN_RAD = np.radians(30)


def upright_points(body: BodyModel, num_betas: int) -> RiderPoints:
    """Neck, pelvis, and the middle of the ankles."""
    names = (("neck", "neck"), ("pelvis", "pelvis"), ("left_ankle", "right_ankle"))
    pairs = np.array([[body.joint_names.index(name) for name in pair] for pair in names])
    regressor = (body.J_regressor[pairs[:, 0]] + body.J_regressor[pairs[:, 1]]).astype(np.float64) / 2
    directions = body.shapedirs[:, :, :num_betas].astype(np.float64)
    joints, weights = np.zeros((3, 4), np.int64), np.zeros((3, 4))
    joints[:, :2], weights[:, :2] = pairs, 0.5
    rest_dirs = (regressor @ directions.reshape(len(directions), -1)).reshape(3, 3, num_betas)
    return RiderPoints(regressor @ body.v_template.astype(np.float64), rest_dirs, joints, weights)


def upright_terms(points: RiderPoints, detection: Detection, camera: Camera, skeleton: Skeleton, start: BodyPose) -> AxisTerms:
    """Pull of trunk and legs towards the vertical of the camera's world."""
    up = camera.T_camera_world[:3, 1]
    sigma = UNPOSED_SIGMA if np.array_equal(camera.T_camera_world, T_CAMERA_WORLD_UNPOSED) else SIGMA
    lean = np.arccos(np.clip(_axes(points, detection, skeleton, start) @ up, -1, 1))
    weights = np.maximum(0.0, 1 - (lean / MAX_LEAN_RAD) ** 2) ** 2
    return AxisTerms(points, BONES, np.repeat(up[None], 2, 0), weights, np.full(2, sigma))


def _axes(points: RiderPoints, detection: Detection, skeleton: Skeleton, start: BodyPose) -> Float[np.ndarray, "2 3"]:
    """Unit vectors up the legs and up the trunk, in the order of BONES."""
    table, world = detection.table, detection.world
    ankles, hips, shoulders = (table.rows(name) for name in ("ankle", "hip", "shoulder"))
    if detection.solid[ankles + hips + shoulders].all():
        middle = [world[rows].mean(0) for rows in (ankles, hips, shoulders)]
        return unit(np.diff(middle, axis=0))
    a, b = BONES.T
    posed = posed_points(points, skeleton, start)
    return unit(posed[b] - posed[a])
