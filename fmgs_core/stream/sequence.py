"""Ground-truth sequences of the format avatar_gt/1: as a recording with its true camera, and as data for evaluation."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from fmgs_core.mapfiles import read_depth, read_labels, read_maps, read_mask, read_normal, read_rgb
from fmgs_core.stream.replay import Frames, ReplaySource
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, log_warning
from fmgs_core.types import BodyState, Camera, Frame, Image, PriorMaps

FORMAT = "avatar_gt/1"
# The format fixes the expression at neutral and does not store it; the body template has this many.
_NUM_EXPRESSIONS = 52


@dataclass(frozen=True)
class SequenceSplit:
    """One split: what the camera saw, and what is true of the body. Index i is the frame's file number."""

    name: str
    folder: Path
    stamps_ns: Int64[np.ndarray, " n"]
    """Not increasing in test_view: its cameras saw the same instants."""
    states: tuple[BodyState, ...]
    cameras: tuple[Camera, ...]
    """One per frame."""
    train_index: Int64[np.ndarray, " n"] | None
    """test_view: the train frame of the same pose."""
    camera_index: Int64[np.ndarray, " n"] | None
    """test_view: which of its cameras."""

    def __len__(self) -> int:
        return len(self.states)

    def frame(self, index: int) -> Frame:
        return Frame(int(self.stamps_ns[index]), read_rgb(self._file("rgb", index)), self.cameras[index])

    def mask(self, index: int) -> np.ndarray:
        """Coverage (h, w) in [0, 1]."""
        return read_mask(self._file("mask", index))

    def has_geometry(self, index: int) -> bool:
        """Depth, normals and labels exist for this frame (every fifth of train, all of the test splits)."""
        return self._file("depth", index).is_file()

    def depth(self, index: int) -> np.ndarray:
        """Camera z (h, w) [m] of the first surface at the pixel centre; NaN in the background."""
        return read_depth(self._file("depth", index))

    def normal(self, index: int) -> np.ndarray:
        """Unit normals (h, w, 3), camera axes, facing the camera; zeros in the background."""
        return read_normal(self._file("normal", index))

    def labels(self, index: int) -> np.ndarray:
        """Sapiens-28 class ids (h, w)."""
        return read_labels(self._file("label", index))

    def maps(self, index: int) -> PriorMaps:
        """All that exists for this frame, as a perfect prior would give it."""
        return read_maps(self.folder, index)

    def background(self) -> Image | None:
        """The room without the person and without noise; None where the background is black."""
        path = self.folder / "background.png"
        return read_rgb(path) if path.is_file() else None

    def _file(self, kind: str, index: int) -> Path:
        return self.folder / kind / f"{index:06d}.png"


class Sequence:
    """A sequence folder. `split(name)` gives "train", "test_view" or "test_pose".

    Raises:
        ValueError: no meta.json of the format avatar_gt/1, or a split that does not match it.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.meta = _meta(self.root)
        self.name: str = self.meta["name"]
        self.fps: float = self.meta["fps"]
        self.splits: tuple[str, ...] = tuple(self.meta["splits"])

    def split(self, name: str) -> SequenceSplit:
        if name not in self.splits:
            raise ValueError(f"{self.root}: expected a split of {', '.join(self.splits)}, got {name!r}")
        folder = self.root / name
        params = _params(folder)
        count = len(params["stamps"])
        poses = np.broadcast_to(params["T_camera_world"], (count, 4, 4))
        size = self.meta["width"], self.meta["height"]
        return SequenceSplit(
            name=name,
            folder=folder,
            stamps_ns=np.round(params["stamps"] * 1e9).astype(np.int64),
            states=tuple(_state(params, i) for i in range(count)),
            cameras=tuple(Camera(params["K"], *size, T) for T in poses),
            train_index=params.get("train_index"),
            camera_index=params.get("camera_index"),
        )


class SequenceSource(ReplaySource):
    """A split as a recording, with its true camera."""

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        config: SourceConfig | None = None,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        config, sequence = config or SourceConfig(), Sequence(root)
        data = sequence.split(split)
        name = f"{sequence.name}/{split}"
        if config.focal_px is not None:
            on_warning(f"{name}: focal_px={config.focal_px:g} is not used, the sequence has its own camera")
        super().__init__(
            name,
            _frames(data),
            config,
            fps=sequence.fps,
            length=len(data),
            estimated=lambda: False,
            clock=clock or Clock(),
        )


def _frames(data: SequenceSplit) -> Frames:
    for index in range(len(data)):
        yield data.frame(index)


def _meta(root: Path) -> dict:
    path = root / "meta.json"
    if not path.is_file():
        raise ValueError(f"{root}: expected the folder of an {FORMAT} sequence with a meta.json, got none")
    try:
        meta = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    missing = {"format", "name", "width", "height", "fps", "splits"} - set(meta)
    if missing or meta["format"] != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT!r}, got {meta.get('format')!r} without {sorted(missing)}")
    return meta


def _params(folder: Path) -> dict[str, np.ndarray]:
    path = folder / "params.npz"
    if not path.is_file():
        raise ValueError(f"{folder}: expected a params.npz, got none")
    with np.load(path, allow_pickle=False) as archive:
        params = dict(archive)
    missing = {"pose", "betas", "transl", "K", "T_camera_world", "stamps"} - set(params)
    if missing:
        raise ValueError(f"{path}: expected arrays {sorted(missing)} as well, got {sorted(params)}")
    return params


def _state(params: dict[str, np.ndarray], index: int) -> BodyState:
    expression = np.zeros(_NUM_EXPRESSIONS, np.float32)
    return BodyState(params["betas"], params["pose"][index], params["transl"][index], expression)
