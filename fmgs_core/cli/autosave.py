"""The avatar on disk while it is being learned: always a whole one, and never the only copy of an earlier one lost."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from fmgs_core.atomic import replacing
from fmgs_core.avatar.snapshot import AvatarSnapshot, save_avatar


def check_folder_can_be_written(folder: Path) -> None:
    """Before minutes are spent on learning what could not be kept; makes nothing.

    Raises:
        ValueError: the folder is something else, or it or what it would be made in cannot be written.
    """
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(p))
    if not existing.is_dir():
        raise ValueError(f"out: expected a folder, or a name for a new one, got {folder}: {existing} is not a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"out: expected a folder that can be written, got {folder}: no permission to write in {existing}")


class Autosave:
    """Writes each snapshot to one file. The avatar that an earlier run left there is kept as avatar.previous.safetensors,
    unless that is the one this run goes on from."""

    def __init__(self, path: Path, resumed: Path | None, on_warning: Callable[[str], None]):
        self._path, self._on_warning = path, on_warning
        self.previous = path.with_name(f"{path.stem}.previous{path.suffix}")
        self._keeps = resumed is None or resumed.absolute() != self.previous.absolute()

    def __call__(self, snapshot: AvatarSnapshot) -> None:
        """A disk that is full for a while must not end the learning: that is warned of, and tried again next time."""
        try:
            self._keep_earlier()
            save_avatar(self._path, snapshot)
        except OSError as error:
            self._on_warning(f"{self._path}: the avatar could not be saved, it is tried again later: {error}")

    def _keep_earlier(self) -> None:
        if self._keeps and self._path.is_file():
            with replacing(self.previous) as part:
                shutil.copyfile(self._path, part)
        self._keeps = False
