"""Landmarks from one prior, and recorded maps wherever there are any."""

from dataclasses import replace

from fmgs_core.keypoints import with_depth_of
from fmgs_core.priors import Prior
from fmgs_core.types import Frame, Keypoints, PriorMaps


class FilledPrior:
    """Maps and landmarks of `recorded` go before those of `detector`, which gives the recorded landmarks their depth where
    they have none. Closes both."""

    def __init__(self, detector: Prior, recorded: Prior):
        self._detector, self._recorded = detector, recorded

    def predict(self, frame: Frame) -> PriorMaps:
        found, maps = self._detector.predict(frame), self._recorded.predict(frame)
        return replace(
            maps,
            mask=found.mask if maps.mask is None else maps.mask,
            keypoints=_landmarks(maps.keypoints, found.keypoints),
            face_score=found.face_score,
        )

    def close(self) -> None:
        self._detector.close()
        self._recorded.close()


def _landmarks(recorded: Keypoints | None, detected: Keypoints | None) -> Keypoints | None:
    if recorded is None or detected is None:
        return detected if recorded is None else recorded
    return with_depth_of(recorded, detected)
