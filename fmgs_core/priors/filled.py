"""Landmarks from one prior, and recorded maps wherever there are any."""

from dataclasses import replace

from fmgs_core.priors import Prior
from fmgs_core.types import Frame, PriorMaps


class FilledPrior:
    """Maps of `recorded` go before those of `detector`, which gives the landmarks. Closes both."""

    def __init__(self, detector: Prior, recorded: Prior):
        self._detector, self._recorded = detector, recorded

    def predict(self, frame: Frame) -> PriorMaps:
        found, maps = self._detector.predict(frame), self._recorded.predict(frame)
        return replace(
            maps,
            mask=found.mask if maps.mask is None else maps.mask,
            keypoints=found.keypoints,
            face_score=found.face_score,
        )

    def close(self) -> None:
        self._detector.close()
        self._recorded.close()
