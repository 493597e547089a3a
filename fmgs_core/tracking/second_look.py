"""When the newest frames are fitted anew, all at once, and what is kept of them until then."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from fmgs_core.body.skinning import vertex_normals
from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.detection import detection_of
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.floor import sole_points
from fmgs_core.tracking.kinematics import BodyPose
from fmgs_core.tracking.late_landmarks import with_landmarks
from fmgs_core.tracking.smoothing import SmoothingConfig, smoothed_poses
from fmgs_core.tracking.states import body_state
from fmgs_core.tracking.tracker import TrackerConfig
from fmgs_core.types import BodyState, Keypoints


class SecondLook:
    """A window of frames with their poses. Not thread-safe."""

    def __init__(self, body: BodyModel, tracker: TrackerConfig, config: SmoothingConfig):
        self._body, self._depth_correction, self._config = body, tracker.depth_correction, config
        self._num_betas = min(tracker.num_betas, body.shapedirs.shape[2])
        self._soles = sole_points(body, self._num_betas)
        self._normals = vertex_normals(body.v_template, body.faces).astype(np.float64)
        self._inflation: Float[np.ndarray, " V"] | None = None
        self._seen: deque[tuple[FrameEvidence, BodyPose]] = deque(maxlen=config.frames)
        self._new = self._count = self._attached = 0

    def add(self, evidence: FrameEvidence) -> None:
        """A frame that is believed, later than those before; a clock that jumped back starts anew."""
        if self._seen and evidence.stamp_ns <= self._seen[-1][0].stamp_ns:
            self._seen.clear()
        self._inflation = evidence.inflation
        self._seen.append((replace(evidence, inflation=None), evidence.pose))
        self._new += 1
        self._count += 1

    def attach(self, stamp_ns: int, keypoints: Keypoints) -> bool:
        """Landmarks of a frame of the window, by a detector that took its time, take the place of the frame's own from the
        next look on.

        Returns:
            False when the frame is not there, or they are not of the person who was followed in it.

        Raises:
            ValueError: an unknown layout or a wrong number of landmarks.
        """
        detection = detection_of(keypoints, self._body, self._num_betas)
        for k, (seen, pose) in enumerate(self._seen):
            if seen.stamp_ns == stamp_ns and detection is not None:
                better = with_landmarks(seen, detection, pose)
                if better is None:
                    return False
                self._seen[k] = (better, pose)
                self._attached += 1
                return True
        return False

    @property
    def due(self) -> bool:
        """Whether enough frames have come since the last time."""
        config = self._config
        return config.enabled and self._new >= max(config.first_after_frames, config.growth * (self._count - self._new))

    @property
    def behind(self) -> bool:
        """Whether any frame, or landmarks of one, have come since the last time."""
        return self._config.enabled and self._new + self._attached > 0 and len(self._seen) > 1

    def states(self, stopped: Callable[[], bool] = lambda: False) -> dict[int, BodyState]:
        """World states of the window's frames by stamp, in the newest frame's shape, judged by all of them.

        Once `stopped` is true it ends within a frame, or a step of all frames (70 ms with 240), with the best states so far,
        of all frames.
        """
        evidence = [self._dressed(seen) for seen, _ in self._seen]
        starts, betas = [pose for _, pose in self._seen], evidence[-1].pose.betas
        poses = smoothed_poses(evidence, starts, betas, self._config, self._soles, stopped)
        self._seen = deque(zip(evidence, poses, strict=True), maxlen=self._config.frames)
        self._new = self._attached = 0
        return {
            seen.stamp_ns: body_state(self._body, seen.problem.skeleton, pose, seen.camera, self._depth_correction)
            for seen, pose in self._seen
        }

    def _dressed(self, seen: FrameEvidence) -> FrameEvidence:
        """In the clothes that are known by now: in the first frames a coat still counts as body, which seems too near then."""
        if self._inflation is None:
            return seen
        contour, vertices = seen.problem.contour, seen.vertices
        rest = self._body.v_template[vertices] + self._inflation[vertices, None] * self._normals[vertices]
        dressed = contour._replace(points=contour.points._replace(rest=rest))
        return replace(seen, problem=seen.problem._replace(contour=dressed))
