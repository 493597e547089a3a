"""Prior maps that were computed earlier, by whatever model, and stored in the layout avatar_gt/1."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Int64

from fmgs_core.mapfiles import read_maps
from fmgs_core.types import Frame, Keypoints, PriorMaps

STAMPS_FILE = "stamps_ns.txt"
# Stamps that went through float seconds differ by a nanosecond or so; frames of a 240 Hz camera are 4 ms apart.
DEFAULT_TOLERANCE_S = 1e-3


class RecordedPrior:
    """Maps out of `folder`/{mask,depth,normal,label}/%06d.png and landmarks out of keypoints/%06d.json, found by the frame's
    stamp. A folder that is being written can be read: what is not there yet is None.

    The folder says which stamp has which number: in params.npz (`stamps`, seconds) or in stamps_ns.txt (one integer per
    line). A map whose file is not there is None, and so are all maps of a frame whose stamp is not there. Maps of another
    size than the frame are resampled to it.

    Raises:
        ValueError: no folder, no stamps, or stamps that do not rise.
    """

    def __init__(self, folder: str | Path, *, tolerance_s: float = DEFAULT_TOLERANCE_S, geometry_trust: float = 1.0):
        self._folder = Path(folder)
        self._stamps_ns = _stamps_ns(self._folder)
        self._tolerance_ns, self._trust = tolerance_s * 1e9, geometry_trust

    def predict(self, frame: Frame) -> PriorMaps:
        index = self.index_of(frame.stamp_ns)
        if index is None:
            return PriorMaps()
        maps = read_maps(self._folder, index, geometry_trust=self._trust)
        return _fitted(maps, frame.camera.width, frame.camera.height)

    def index_of(self, stamp_ns: int) -> int | None:
        """Number of the recorded frame nearest in time; None when it is farther than the tolerance."""
        index = int(np.abs(self._stamps_ns - stamp_ns).argmin())
        return index if abs(int(self._stamps_ns[index]) - stamp_ns) <= self._tolerance_ns else None

    def close(self) -> None:
        """Nothing is held open."""


def _stamps_ns(folder: Path) -> Int64[np.ndarray, " n"]:
    text, params = folder / STAMPS_FILE, folder / "params.npz"
    if text.is_file():
        stamps = np.loadtxt(text, dtype=np.int64, ndmin=1)
    elif params.is_file():
        with np.load(params, allow_pickle=False) as archive:
            stamps = np.round(archive["stamps"] * 1e9).astype(np.int64)
    else:
        raise ValueError(f"{folder}: expected a folder of recorded maps with {STAMPS_FILE} or params.npz, got neither")
    if len(stamps) == 0 or (np.diff(stamps) <= 0).any():
        raise ValueError(f"{folder}: expected stamps that rise from frame to frame, got {stamps[:5].tolist()}...")
    return stamps


def _fitted(maps: PriorMaps, width: int, height: int) -> PriorMaps:
    """Maps at the frame's size. Only the mask is averaged: a mean of depths, normals or labels across an edge is of nothing."""

    def resampled(values: np.ndarray | None, interpolation: int = cv2.INTER_NEAREST_EXACT) -> np.ndarray | None:
        if values is None or values.shape[:2] == (height, width):
            return values
        return cv2.resize(values, (width, height), interpolation=interpolation)

    return PriorMaps(
        keypoints=_scaled(maps, width, height),
        mask=resampled(maps.mask, cv2.INTER_AREA),
        normal=resampled(maps.normal),
        depth=resampled(maps.depth),
        labels=resampled(maps.labels),
        label_set=maps.label_set,
        geometry_trust=maps.geometry_trust,
    )


def _scaled(maps: PriorMaps, width: int, height: int) -> Keypoints | None:
    """Landmarks in the frame's pixels; they were found in a picture of the mask's size."""
    if maps.keypoints is None or maps.mask is None or maps.mask.shape == (height, width):
        return maps.keypoints
    factors = width / maps.mask.shape[1], height / maps.mask.shape[0], 1.0
    return replace(maps.keypoints, points=maps.keypoints.points * factors)
