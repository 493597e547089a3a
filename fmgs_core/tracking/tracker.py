"""Follows one person through a stream: detector's landmarks and mask in, body state in the world frame out.

Per frame: correct the detector's sides, predict, fit the landmarks, refine on the mask's contour, learn shape and clothing.
Stature and depth cannot be told apart by one camera: give `subject_height_m` where metric depth matters.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.body.template import BodyModel
from fmgs_core.tracking.anatomy import anatomy_of
from fmgs_core.tracking.detection import Detection, along_viewing_ray, detection_of, landmark_terms
from fmgs_core.tracking.evidence import FrameEvidence
from fmgs_core.tracking.flips import ExpectedLandmarks, FlipGuard, FlipVerdict
from fmgs_core.tracking.floor import soles_seen
from fmgs_core.tracking.history import ROOT_TURN_SHARE, TURN_SHARE, MotionHistory, no_prediction
from fmgs_core.tracking.initialisation import analytic_pose, initial_translation, lifted
from fmgs_core.tracking.kinematics import BodyPose, posed_points, skeleton_of
from fmgs_core.tracking.landmarks import landmark_table
from fmgs_core.tracking.residuals import NEAR_M
from fmgs_core.tracking.shape import ShapeBelief
from fmgs_core.tracking.silhouette import MaskOutline, Silhouette, mask_outline
from fmgs_core.tracking.solver import Prediction, Problem, Solution, solve
from fmgs_core.tracking.states import body_state
from fmgs_core.tracking.upright import upright_points, upright_terms
from fmgs_core.types import BodyState, Camera, Frame, PriorMaps

# Above this cost the fit from the prediction sits in a wrong basin more often than not; the analytic pose is tried too.
RETRY_COST = 150.0
FIRST_ITERATIONS, ITERATIONS, CONTOUR_ITERATIONS = 30, 8, 3
# Confidence is lost where the median landmark is this far off or the mask is overlapped this little. People in wide clothes
# start at IoU 0.7; what MediaPipe imagines where somebody was a moment ago reaches 0.52.
WORST_ERROR_HEIGHTS, WORST_IOU, GOOD_IOU = 0.05, 0.6, 0.85


@dataclass(frozen=True)
class TrackerConfig:
    """Settings of `BodyTracker`."""

    subject_height_m: float | None = None
    """Stature without shoes; None when unknown, then depth is off by the same share as the stature that is assumed."""
    use_silhouette: bool = True
    """Refine on the mask's contour and learn the inflation; costs about two thirds of the time."""
    silhouette_rounds: int = 2
    first_silhouette_rounds: int = 5
    num_betas: int = 6
    """How many shape coefficients are fitted; the others stay zero."""
    pose_prior: float = 1.5
    """Strength of the pose prior; 1 to 2 is good, 4 stiffens dancers, 0.05 loses the root's yaw."""
    smoothness: float = 1.0
    """Divides the temporal sigmas: 1.7 halves the jitter and lags more."""
    max_jump_heights: float = 0.35
    """Way of the trunk between frames at 15 Hz, in body heights, beyond which it is taken for somebody else."""
    depth_correction: float = 1.01
    """Factor on the distance. Bodies fitted to real detections come out 0.6 to 2 % too near (six rendered bodies of 1.50 to
    2.17 m): noise in the direction of limbs only ever shortens them, hair and soles only ever lengthen the mask."""
    lost_after_frames: int = 5
    """Frames in a row without a believable detection until the track counts as lost."""

    def __post_init__(self):
        if self.subject_height_m is not None and not 0.5 <= self.subject_height_m <= 2.5:
            raise ValueError(f"TrackerConfig.subject_height_m: expected 0.5 to 2.5 m or None, got {self.subject_height_m}")
        for name in ("silhouette_rounds", "first_silhouette_rounds", "num_betas", "lost_after_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"TrackerConfig.{name}: expected one or more, got {getattr(self, name)}")
        for name in ("pose_prior", "smoothness", "max_jump_heights", "depth_correction"):
            if not getattr(self, name) > 0:
                raise ValueError(f"TrackerConfig.{name}: expected a positive number, got {getattr(self, name)}")


class TrackingStatus(Enum):
    SEARCHING = "searching"
    """Nobody has been seen yet."""
    TRACKING = "tracking"
    LOST = "lost"
    """Somebody was there; the pose starts over when they come back, shape and clothing are kept."""


@dataclass(frozen=True, eq=False)
class TrackedBody:
    """What is known of the person after one frame."""

    state: BodyState | None
    """World frame; on a frame that was not believed the last one is repeated, with confidence 0. None unless TRACKING."""
    status: TrackingStatus
    confidence: float
    """In [0, 1]: mean visibility of the main joints, times 1 - median landmark error / 0.05 heights, times the mask's
    overlap (0 at IoU 0.6, 1 from 0.85 on; 1 without a mask). A fit with 0 is not believed, one below 0.3 doubtful."""
    flip_corrected: bool
    """The detector's left and right were exchanged in this frame."""
    inflation: Float[np.ndarray, " V"] | None
    """Dressed surface above the body along the rest normals [m], float32; None before the first contour."""
    evidence: FrameEvidence | None = None
    """By which the frame can be fitted anew, together with others (SecondLook); None on a frame that was not believed."""


class BodyTracker:
    """Causal; one `update` per frame, in order. Give it the body before subdivision: the outline gains nothing from more faces,
    and pose correctives are left out too. About 12 ms a frame with the contour, 2 without, on one core.

    Keypoints may be of any layout in fmgs_core.keypoints, with 3-D or without, and of another one in the next frame. Without
    3-D an arm behind the body may be taken for one in front of it (in two of six noisy rendered turns, for half a turn).

    Raises:
        ValueError: the body is not one to whose vertices the landmarks are tied.
    """

    def __init__(self, body: BodyModel, config: TrackerConfig = TrackerConfig()):
        self._body, self.config = body, config
        num_betas = min(config.num_betas, body.shapedirs.shape[2])
        self._num_betas = num_betas
        self._skeleton = skeleton_of(body, num_betas)
        landmark_table(body, num_betas)  # refuses other bodies
        self._upright = upright_points(body, num_betas)
        self._anatomy = anatomy_of(body, config.pose_prior)
        self.reset()

    def reset(self) -> None:
        """Forgets the person altogether, shape and clothing included."""
        self._shape = ShapeBelief(self._body, self._num_betas, self.config.subject_height_m)
        self._silhouette = Silhouette(self._body, self._skeleton, self._num_betas)
        self._inflation: Float[np.ndarray, " V"] | None = None
        self._flips = FlipGuard()
        self._history = MotionHistory(self._skeleton, self.config.smoothness)
        self._status, self._misses = TrackingStatus.SEARCHING, 0
        self._last_state: BodyState | None = None
        self._allowed_way: float | None = None

    def update(self, frame: Frame, maps: PriorMaps) -> TrackedBody:
        """Raises ValueError when the keypoints' layout is unknown or the mask has not the picture's size."""
        keypoints = maps.keypoints
        detection = None if keypoints is None else detection_of(keypoints, self._body, self._num_betas)
        if detection is None or self._is_somebody_else(detection, frame):
            return self._missed()
        verdict = self._unflipped(along_viewing_ray(detection, _intrinsics(frame.camera)), frame, maps.face_score)
        fit = self._fit(verdict.detection, frame, maps.mask)
        confidence = 0.0 if fit is None else self._confidence(verdict.detection, fit, frame.camera)
        if fit is None or confidence == 0.0:
            return self._missed()
        self._remember(fit.solution, frame)
        evidence = FrameEvidence(
            frame.stamp_ns,
            frame.camera,
            fit.problem,
            fit.solution.pose,
            fit.vertices,
            soles_seen(verdict.detection, frame.camera),
            self._inflation,
        )
        return TrackedBody(self._last_state, self._status, confidence, verdict.corrected, self._inflation, evidence)

    def _confidence(self, detection: Detection, fit: "_Fit", camera: Camera) -> float:
        """As TrackedBody.confidence says."""
        table = detection.table
        pixels = self._pixels(posed_points(table.points, self._skeleton, fit.solution.pose), camera)
        error = np.median(np.linalg.norm(pixels - detection.pixels, axis=1)[table.main]) / fit.height_px
        overlap = 1.0 if fit.iou is None else np.clip((fit.iou - WORST_IOU) / (GOOD_IOU - WORST_IOU), 0.0, 1.0)
        return float(detection.visibility[table.main].mean() * max(0.0, 1 - error / WORST_ERROR_HEIGHTS) * overlap)

    def _missed(self) -> TrackedBody:
        """A frame without a believable detection or fit: the last state stands for a while, then the track is lost."""
        self._misses += 1
        if self._status is TrackingStatus.TRACKING and self._misses >= self.config.lost_after_frames:
            self._status = TrackingStatus.LOST
            self._forget_motion()
        state = self._last_state if self._status is TrackingStatus.TRACKING else None
        return TrackedBody(state, self._status, 0.0, False, self._inflation)

    def _forget_motion(self) -> None:
        self._history.clear()
        self._flips.reset()
        self._allowed_way = None

    def _is_somebody_else(self, detection: Detection, frame: Frame) -> bool:
        """A trunk that jumped is not believed; if it stays there, the track is lost and starts anew there.

        The way that is allowed grows while nobody is seen, but not while somebody is seen in the wrong place.
        """
        self._history.drop_if_stale(frame.stamp_ns)
        if self._history.empty:
            self._allowed_way = None
            return False
        predicted = self._predicted(frame)
        table = detection.table
        expected = self._pixels(posed_points(table.points, self._skeleton, predicted), frame.camera)[table.trunk].mean(0)
        way = np.linalg.norm(detection.center - expected) / self._height_px(predicted, frame.camera)
        grown = self.config.max_jump_heights * max(1.0, self._history.steps(frame.stamp_ns))
        allowed = grown if self._allowed_way is None else self._allowed_way
        self._allowed_way = allowed if way > allowed else None
        return bool(way > allowed)

    def _pixels(self, points: Float[np.ndarray, "n 3"], camera: Camera) -> Float[np.ndarray, "n 2"]:
        return replace(camera, T_camera_world=np.eye(4)).project(points)

    def _unflipped(self, detection: Detection, frame: Frame, face_score: float | None) -> FlipVerdict:
        if self._history.empty:
            return self._flips.first(detection, face_score)
        expected_pose = self._predicted(frame, ROOT_TURN_SHARE)
        points = posed_points(detection.table.points, self._skeleton, expected_pose)
        height_px = self._height_px(expected_pose, frame.camera)
        expected = ExpectedLandmarks(self._pixels(points, frame.camera), points, height_px)
        verdict = self._flips.check(detection, expected, face_score)
        if verdict.lost:
            self._forget_motion()
            return self._flips.first(detection, face_score)
        return verdict

    def _predicted(self, frame: Frame, root_share: float = TURN_SHARE) -> BodyPose:
        return self._history.predicted(frame.camera, frame.stamp_ns, self._shape.betas, root_share)

    def _height_px(self, pose: BodyPose, camera: Camera) -> float:
        """Size of the upright person in the picture, to which all pixel noise is related."""
        return camera.K[1, 1] * self._shape.stature_m / max(pose.transl[2], NEAR_M)

    def _fit(self, detection: Detection, frame: Frame, mask: Float[np.ndarray, "h w"] | None) -> "_Fit | None":
        """None when a solution is not finite."""
        first = self._history.empty
        attempt, solution = self._started(detection, frame) if first else self._continued(detection, frame)
        problem, height_px = attempt
        outline = self._outline(mask, frame.camera, height_px) if np.isfinite(solution.cost) else None
        iou, vertices = None, np.zeros(0, np.int64)
        if outline is not None:
            solution, problem, iou, vertices = self._refined(solution, problem, outline, height_px, first=first)
        finite = all(np.isfinite(part).all() for part in (solution.cost, solution.information, *solution.pose))
        return _Fit(solution, problem, height_px, iou, vertices) if finite else None

    def _started(self, detection: Detection, frame: Frame) -> "tuple[_Attempt, Solution]":
        """The cheapest of the fits from the poses that the landmarks suggest by themselves."""
        starts = self._analytic(detection, frame.camera)
        attempts = [self._attempt(detection, frame.camera, start, no_prediction(start)) for start in starts]
        return _cheapest(
            [(each, solve(each.problem, start, FIRST_ITERATIONS)) for each, start in zip(attempts, starts, strict=True)]
        )

    def _continued(self, detection: Detection, frame: Frame) -> "tuple[_Attempt, Solution]":
        start = self._predicted(frame)
        attempt = self._attempt(detection, frame.camera, start, self._history.prediction(start, frame.stamp_ns))
        solution = solve(attempt.problem, start, ITERATIONS)
        if solution.cost <= RETRY_COST:
            return attempt, solution
        again = [solve(attempt.problem, pose, ITERATIONS) for pose in self._analytic(detection, frame.camera)]
        return _cheapest([(attempt, each) for each in (solution, *again)])

    def _attempt(self, detection: Detection, camera: Camera, start: BodyPose, prediction: Prediction) -> "_Attempt":
        height_px = self._height_px(start, camera)
        problem = Problem(
            skeleton=self._skeleton,
            intrinsics=_intrinsics(camera),
            landmarks=landmark_terms(detection, height_px),
            contour=self._silhouette.no_terms(),
            upright=upright_terms(self._upright, detection, camera, self._skeleton, start),
            anatomy=self._anatomy,
            prediction=prediction,
            shape=self._shape.prior,
        )
        return _Attempt(problem, height_px)

    def _analytic(self, detection: Detection, camera: Camera) -> list[BodyPose]:
        """One pose of a detection with depth, one for each way to face of one without."""
        intrinsics, betas = _intrinsics(camera), self._shape.betas
        terms = landmark_terms(detection, 1.0)
        solid = [detection] if detection.has_depth else lifted(detection, self._skeleton, self._anatomy, betas, intrinsics)
        rotations = [analytic_pose(each, self._skeleton) for each in solid]
        return [BodyPose(R, initial_translation(R, betas, self._skeleton, terms, intrinsics), betas.copy()) for R in rotations]

    def _outline(self, mask: Float[np.ndarray, "h w"] | None, camera: Camera, height_px: float) -> MaskOutline | None:
        return mask_outline(mask, camera, height_px) if mask is not None and self.config.use_silhouette else None

    def _refined(
        self, solution: Solution, problem: Problem, outline: MaskOutline, height_px: float, *, first: bool
    ) -> tuple[Solution, Problem, float, Int[np.ndarray, " n"]]:
        """Pairs outline and contour anew in each round; what is left over afterwards is clothing.

        On a person's very first frame the clothes are taken over in every round: waiting would bend the pose instead.
        """
        rounds = self.config.first_silhouette_rounds if first else self.config.silhouette_rounds
        iou, vertices = 0.0, np.zeros(0, np.int64)
        undressed = self._inflation is None
        for k in range(rounds):
            fit = self._silhouette.compare(solution.pose, outline, height_px)
            problem, iou, vertices = problem._replace(contour=fit.terms), fit.iou, fit.vertices
            solution = solve(problem, solution.pose, CONTOUR_ITERATIONS)
            if iou > WORST_IOU and (undressed or k == rounds - 1):
                self._silhouette.dress(fit, solution.pose, outline)
                self._inflation = self._silhouette.inflation.per_vertex().astype(np.float32)
        return solution, problem, iou, vertices

    def _remember(self, solution: Solution, frame: Frame) -> None:
        self._shape.absorb(solution)
        self._history.push(solution.pose, frame.camera, frame.stamp_ns)
        self._status, self._misses = TrackingStatus.TRACKING, 0
        self._last_state = body_state(self._body, self._skeleton, solution.pose, frame.camera, self.config.depth_correction)


class _Attempt(NamedTuple):
    problem: Problem
    height_px: float
    """That the pose from which the problem is solved has in the picture."""


def _cheapest(fits: list[tuple[_Attempt, Solution]]) -> tuple[_Attempt, Solution]:
    """The first of equals; one whose cost is not finite only when none is."""
    return min(fits, key=lambda fit: fit[1].cost if np.isfinite(fit[1].cost) else np.inf)


@dataclass(frozen=True, eq=False)
class _Fit:
    solution: Solution
    problem: Problem
    """The contour as it was paired last."""
    height_px: float
    iou: float | None
    vertices: Int[np.ndarray, " n"]
    """The body vertex of each of the contour's rows."""


def _intrinsics(camera: Camera) -> tuple[float, float, float, float]:
    K = camera.K
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
