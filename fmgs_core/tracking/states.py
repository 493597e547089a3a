"""From the solver's unknowns to the body state that leaves the tracker."""

import numpy as np

from fmgs_core.body.template import BodyModel
from fmgs_core.geometry import rigid_inverse
from fmgs_core.tracking.history import world_pose
from fmgs_core.tracking.kinematics import NUM_JOINTS, BodyPose, Skeleton
from fmgs_core.tracking.so3 import log_so3
from fmgs_core.types import BodyState, Camera


def body_state(body: BodyModel, skeleton: Skeleton, pose: BodyPose, camera: Camera, depth_correction: float) -> BodyState:
    """In the world; the distance from the camera [m] is multiplied by `depth_correction`.

    The root turns about its rest joint, so transl is the root's way from there, not T_world_camera's of transl.
    """
    rotations, root = world_pose(pose, skeleton, camera)
    axis_angle = np.zeros((body.num_joints, 3))
    axis_angle[:NUM_JOINTS] = [log_so3(R) for R in rotations]
    betas = np.zeros(body.shapedirs.shape[2])
    betas[: len(pose.betas)] = pose.betas
    rest_root = skeleton.joints[0] + skeleton.joint_dirs[0] @ pose.betas
    eye = rigid_inverse(camera.T_camera_world)[:3, 3]
    root = eye + depth_correction * (root - eye)
    return BodyState(betas, axis_angle, root - rest_root, np.zeros(body.exprdirs.shape[2]))
