"""Left/right mistakes of the detector, found before solving by comparison with where the body was predicted to be.

A detector that sees a back as a front exchanges all sides and mirrors the depth; in profile it may exchange the legs only.
Errors are compared without solving, in units of plausible noise and clipped, so that one wild landmark decides nothing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fmgs_core.tracking.detection import Detection, unit

PIXEL_NOISE_HEIGHTS, DIRECTION_NOISE, CLIP = 0.03, 0.35, 9.0
# A detection is doubted from the first cost on, and changed when a hypothesis costs less than that share of it.
DOUBT_ALL, SHARE_ALL, DOUBT_LEGS, SHARE_LEGS = 20.0, 0.55, 8.0, 0.55
MAX_RUN_ALL, MAX_RUN_LEGS = 4, 3
FACE_SEEN = 0.7
# Nobody who shows the detector a face has turned further; at 120 degrees it still sees one.
MAX_YAW_WITH_FACE_RAD = np.radians(140)


@dataclass(frozen=True, eq=False)
class ExpectedLandmarks:
    """The landmarks of a predicted body."""

    pixels: Float[np.ndarray, "L 2"]
    points: Float[np.ndarray, "L 3"]
    height_px: float


@dataclass(frozen=True, eq=False)
class FlipVerdict:
    detection: Detection
    corrected: bool
    lost: bool
    """Too many corrections in a row: then the prediction is what is wrong, and tracking should start over."""


class FlipGuard:
    """Corrects one frame's detection; counts how often in a row it did so."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self._run_all = self._run_legs = 0

    def first(self, detection: Detection, face_score: float | None) -> FlipVerdict:
        """Without a prediction only a face can tell: one seen on a body that should face away means the sides are wrong."""
        self.reset()
        if _sees_face(face_score) and detection.turn > MAX_YAW_WITH_FACE_RAD:
            return FlipVerdict(detection.exchanged(mirror_depth=True), corrected=True, lost=False)
        return FlipVerdict(detection, corrected=False, lost=False)

    def check(self, detection: Detection, expected: ExpectedLandmarks, face_score: float | None) -> FlipVerdict:
        """Whole-body hypotheses first; the legs alone are looked at only when none of them was taken."""
        best = _best_whole(detection, expected, _sees_face(face_score))
        self._run_all = self._run_all + 1 if best is not detection else 0
        if self._run_all > MAX_RUN_ALL:
            self.reset()
            return FlipVerdict(detection, corrected=False, lost=True)
        if best is detection:
            best = self._best_legs(detection, expected)
        return FlipVerdict(best, corrected=best is not detection, lost=False)

    def _best_legs(self, detection: Detection, expected: ExpectedLandmarks) -> Detection:
        cost = _leg_cost(detection, expected)
        hypothesis = detection.exchanged(detection.table.below_hips)
        doubtful = cost > DOUBT_LEGS and _leg_cost(hypothesis, expected) < SHARE_LEGS * cost
        swap = doubtful and self._run_legs < MAX_RUN_LEGS
        self._run_legs = self._run_legs + 1 if swap else 0
        return hypothesis if swap else detection


def _best_whole(detection: Detection, expected: ExpectedLandmarks, face: bool) -> Detection:
    cost = _cost(detection, expected)
    if cost <= DOUBT_ALL:
        return detection
    best, best_cost = detection, SHARE_ALL * cost
    legs = detection.table.rows("hip") + detection.table.below_hips
    for rows, mirror_depth in ((None, True), (legs, False), (None, False)):
        hypothesis = detection.exchanged(rows, mirror_depth=mirror_depth)
        if face and hypothesis.turn > MAX_YAW_WITH_FACE_RAD:
            continue
        hypothesis_cost = _cost(hypothesis, expected)
        if hypothesis_cost < best_cost:
            best, best_cost = hypothesis, hypothesis_cost
    return best


def _cost(detection: Detection, expected: ExpectedLandmarks) -> float:
    return float(_landmark_errors(detection, expected).sum() + _bone_errors(detection, expected, detection.table.bones).sum())


def _leg_cost(detection: Detection, expected: ExpectedLandmarks) -> float:
    table = detection.table
    bones = table.bones[np.isin(table.bones[:, 1], table.below_hips)]
    landmarks = _landmark_errors(detection, expected)[table.below_hips]
    return float(landmarks.sum() + 0.5 * _bone_errors(detection, expected, bones).sum())


def _landmark_errors(detection: Detection, expected: ExpectedLandmarks) -> Float[np.ndarray, " L"]:
    weights = detection.table.weights.copy()
    # MediaPipe's knees are believed little by the fit, for an error along the leg; across it they tell the legs apart best.
    weights[detection.table.rows("knee")] = 1.0
    offset = (detection.pixels - expected.pixels) / (PIXEL_NOISE_HEIGHTS * expected.height_px)
    return detection.trust * weights * np.minimum((offset**2).sum(1), CLIP)


def _bone_errors(detection: Detection, expected: ExpectedLandmarks, bones: Int[np.ndarray, "k 2"]) -> Float[np.ndarray, " k"]:
    a, b = bones.T
    turned = unit(detection.world[b] - detection.world[a]) - unit(expected.points[b] - expected.points[a])
    trust = np.sqrt(detection.trust[a] * detection.trust[b]) * (detection.solid[a] & detection.solid[b])
    return trust * np.minimum((turned**2).sum(1) / DIRECTION_NOISE**2, CLIP)


def _sees_face(face_score: float | None) -> bool:
    """The absence of a face proves nothing, so a low score is as good as none."""
    return face_score is not None and face_score >= FACE_SEEN
