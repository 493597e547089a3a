"""Maps of a whole recording into a folder that RecordedPrior reads: once, where the GPU is."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from fmgs_core import mapfiles
from fmgs_core.atomic import replacing
from fmgs_core.priors.recorded import STAMPS_FILE
from fmgs_core.types import PriorMaps

META_FILE = "meta.json"
FORMAT = "fmgs_priors/1"
# Where a frame's depths are put, of the 0 to 6.55 m that the format holds; 0 is nothing.
DEPTH_RANGE_M = (0.5, 6.5)
CONVENTIONS = {
    "mask": "8 bit, value / 255 is the probability of the person",
    "normal": "8 bit RGB, (value - 127.5) / 127.5 in camera axes (x right, y down, z forward), facing the camera; 0 unknown",
    "depth": "16 bit, relative: larger is farther, scale and offset differ from frame to frame; 0 unknown",
    "label": f"8 bit, class ids of {mapfiles.LABEL_SET}; 255 unknown",
    "keypoints": "x, y [px, the first pixel's centre at 0.5], confidence; points_3d in camera axes [m, unknown scale]",
    "stamps": "stamps_ns.txt: one line per frame, in nanoseconds; the line's number, from 0, is the files' name",
}


@dataclass(frozen=True)
class Recipe:
    """What a folder is made of; a folder belongs to one."""

    source: str
    """Name of the recording."""
    every: int
    """Every n-th frame of it."""
    models: Mapping[str, str]
    """By name: what pins it down, a file's sha256 or a package's version."""

    def __post_init__(self):
        if self.every < 1:
            raise ValueError(f"every: expected at least 1, got {self.every}")


class Recorder:
    """Writes frame after frame; one that was interrupted goes on where it was. A frame is there whole or not at all: its files
    are written first, its stamp last.

    Raises:
        ValueError: the folder holds something else, or maps of another recipe.
    """

    def __init__(self, folder: Path, recipe: Recipe):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.stamps_ns = _opened(folder, recipe)
        """Of the frames that are there."""

    def has(self, index: int, stamp_ns: int) -> bool:
        """Whether the index-th frame is there already.

        Raises:
            ValueError: it is, but of another time: this is not the recording that the folder was made of.
        """
        if index >= len(self.stamps_ns):
            return False
        if self.stamps_ns[index] != stamp_ns:
            raise ValueError(
                f"{self._folder}: expected the recording it was made of, whose frame {index} is of {self.stamps_ns[index]} ns,"
                f" got one of {stamp_ns} ns"
            )
        return True

    def add(self, stamp_ns: int, maps: PriorMaps) -> None:
        """The next frame. Depth is stretched to the format's range: its order is what counts.

        Raises:
            ValueError: a stamp that does not rise, or labels of a set that the format does not hold.
        """
        if self.stamps_ns and stamp_ns <= self.stamps_ns[-1]:
            raise ValueError(f"{self._folder}: expected a stamp after {self.stamps_ns[-1]} ns, got {stamp_ns} ns")
        if maps.labels is not None and maps.label_set != mapfiles.LABEL_SET:
            raise ValueError(f"PriorMaps.label_set: expected {mapfiles.LABEL_SET} on disk, got {maps.label_set!r}")
        _write(self._folder, len(self.stamps_ns), maps)
        stamps_ns = [*self.stamps_ns, stamp_ns]
        with replacing(self._folder / STAMPS_FILE) as part:
            part.write_text("".join(f"{stamp}\n" for stamp in stamps_ns))
        self.stamps_ns = stamps_ns


def stretched(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Relative depth on DEPTH_RANGE_M, by one factor and one offset; NaN stays."""
    known = np.isfinite(depth)
    out = np.full(depth.shape, np.nan, np.float32)
    if known.any():
        values = depth[known].astype(np.float64)
        low, high = values.min(), values.max()
        share = (values - low) / (high - low) if high > low else np.zeros_like(values)
        out[known] = DEPTH_RANGE_M[0] + share * (DEPTH_RANGE_M[1] - DEPTH_RANGE_M[0])
    return out


def _write(folder: Path, index: int, maps: PriorMaps) -> None:
    """After whatever an interruption left of the same frame."""
    paths = {kind: folder / kind / f"{index:06d}.png" for kind in ("mask", "depth", "normal", "label")}
    keypoints = mapfiles.keypoints_path(folder, index)
    for path in (*paths.values(), keypoints):
        path.unlink(missing_ok=True)
    if maps.mask is not None:
        mapfiles.write_mask(paths["mask"], maps.mask)
    if maps.depth is not None:
        mapfiles.write_depth(paths["depth"], stretched(maps.depth))
    if maps.normal is not None:
        mapfiles.write_normal(paths["normal"], maps.normal, np.abs(maps.normal).sum(-1) > 0.5)
    if maps.labels is not None:
        mapfiles.write_labels(paths["label"], maps.labels)
    if maps.keypoints is not None:
        mapfiles.write_keypoints(keypoints, maps.keypoints)


def _opened(folder: Path, recipe: Recipe) -> list[int]:
    """Stamps of the frames that are there; a folder that is empty is made one of the recipe's."""
    path, wanted = folder / META_FILE, _recipe_as_json(recipe)
    if not path.is_file():
        strange = sorted(p.name for p in folder.iterdir())
        if strange:
            raise ValueError(
                f"{folder}: expected an empty folder or one of recorded maps, got one with {', '.join(strange[:4])}"
            )
        with replacing(path) as part:
            part.write_text(json.dumps({"format": FORMAT, **wanted, "conventions": CONVENTIONS}, indent=1) + "\n")
        return []
    found = _read_meta(path)
    for name, value in wanted.items():
        if found.get(name) != value:
            begun, got = _in_words(found.get(name)), _in_words(value)
            raise ValueError(f"{folder}: expected {name} {begun} as it was begun with, got {got}; give another folder")
    stamps = folder / STAMPS_FILE
    return [int(line) for line in stamps.read_text().split()] if stamps.is_file() else []


def _in_words(value: object) -> str:
    if not isinstance(value, dict):
        return repr(value)
    return ", ".join(f"{name} ({str(pin)[:16]})" for name, pin in value.items()) or "none"


def _recipe_as_json(recipe: Recipe) -> dict[str, Any]:
    return asdict(replace(recipe, models=dict(recipe.models)))


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        got = meta.get("format") if isinstance(meta, dict) else type(meta).__name__
        raise ValueError(f"{path}: expected format {FORMAT}, got {got!r}")
    return meta
