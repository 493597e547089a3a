"""A folder of numbered pictures as a recording."""

import re
from pathlib import Path

from fmgs_core.mapfiles import read_rgb
from fmgs_core.stream.intrinsics import CameraGuess, SizeWatch
from fmgs_core.stream.replay import Damage, Frames, ReplaySource
from fmgs_core.stream.source import Clock, OnWarning, SourceConfig, log_warning

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# Pictures carry no time; the rate of common cameras. SourceConfig.fps_override says another.
DEFAULT_FPS = 30.0


class FolderSource(ReplaySource):
    """Pictures of a folder in natural order of their names (2 before 10). Frame i has stamp i / fps.

    Unreadable pictures are left out with a warning and leave their gap in time.

    Raises:
        ValueError: the folder holds no picture, or none that can be read.
    """

    def __init__(
        self,
        path: str | Path,
        config: SourceConfig | None = None,
        *,
        on_warning: OnWarning = log_warning,
        clock: Clock | None = None,
    ):
        config, path = config or SourceConfig(), Path(path)
        pictures = picture_files(path)
        guess = CameraGuess(config.focal_px)
        super().__init__(
            path.name,
            _frames(path.name, pictures, guess, on_warning),
            config,
            fps=DEFAULT_FPS,
            length=len(pictures),
            estimated=lambda: guess.estimated,
            clock=clock or Clock(),
        )


def picture_files(folder: Path) -> list[Path]:
    """Pictures of a folder in natural order.

    Raises:
        ValueError: there is none; says what is there instead.
    """
    files = sorted((p for p in folder.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
    pictures = [p for p in files if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    if not pictures:
        others = ", ".join(p.name for p in files[:5]) or "nothing"
        raise ValueError(f"{folder}: expected pictures ({' '.join(SUFFIXES)}), a bag or an avatar_gt/1 sequence, got {others}")
    return pictures


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that compares runs of digits as numbers."""
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", name) if part]


def _frames(name: str, pictures: list[Path], guess: CameraGuess, on_warning: OnWarning) -> Frames:
    sizes, damage = SizeWatch(name, on_warning), Damage(name, on_warning)
    for index, path in enumerate(pictures):
        try:
            rgb = read_rgb(path)
        except ValueError as error:
            damage.bad(path.name, error)
            continue
        damage.good()
        sizes.see(path.name, rgb)
        yield guess.frame(round(index * 1e9 / DEFAULT_FPS), rgb)
