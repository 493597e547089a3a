"""Streams that go wrong, made from the ground-truth sequence: its true masks put the person on any picture, or on none."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from fmgs_core.mapfiles import read_mask, read_rgb, write_rgb

Picture = np.ndarray
FPS = 15


@dataclass(frozen=True)
class Stage:
    """The person of a sequence's train split and the room, shrunk to a square of `side` pixels."""

    train: Path
    side: int = 256

    def room(self) -> Picture:
        return self._shrunk(read_rgb(self.train / "background.png"))

    def person(self, index: int) -> Picture:
        return self._shrunk(read_rgb(self.train / "rgb" / f"{index:06d}.png"))

    def people(self, *placed: tuple[int, int], tint: tuple[float, float, float] = (0.4, 0.9, 1.6)) -> Picture:
        """A picture twice as wide as high: each (frame, shift [px]) is a person; all but the first are dyed by `tint`."""
        wide = np.concatenate([self.room(), self.room()[:, ::-1]], 1).astype(np.float32)
        for k, (index, shift) in reversed(list(enumerate(placed))):
            mask = self._shrunk(read_mask(self.train / "mask" / f"{index:06d}.png"))[..., None]
            person = self.person(index).astype(np.float32) * (np.array(tint) if k else 1.0)
            x0, x1 = max(0, shift), max(0, min(wide.shape[1], shift + self.side))
            cut = slice(x0 - shift, max(x0, x1) - shift)
            wide[:, x0:x1] = mask[:, cut] * person[:, cut] + (1 - mask[:, cut]) * wide[:, x0:x1]
        return wide.clip(0, 255).astype(np.uint8)

    def _shrunk(self, picture: np.ndarray) -> np.ndarray:
        return cv2.resize(picture, (self.side, self.side), interpolation=cv2.INTER_AREA)


def write_folder(folder: Path, pictures: Iterable[Picture]) -> Path:
    for i, picture in enumerate(pictures):
        write_rgb(folder / f"{i:04d}.png", picture)
    return folder


def write_video(path: Path, pictures: Iterable[Picture]) -> Path:
    """Motion JPEG with full chroma: odd sizes stay odd, and of a cut file (.mkv) what is there can still be read."""
    with av.open(str(path), "w") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("mjpeg", rate=FPS)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt, stream.options = "yuvj444p", {"qscale": "2"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        assert stream is not None
        container.mux(stream.encode())
    return path


def read_video(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [picture.to_ndarray(format="rgb24") for picture in container.decode(video=0)]
