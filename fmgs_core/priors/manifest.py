"""The list of a user's models on disk: one JSON file that is read whole, changed under a lock, and replaced atomically."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmgs_core.atomic import alone, replacing

FORMAT = "fmgs_models/1"


@dataclass
class Manifest:
    """Contents of the file. Mutable, inside `editing` only."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the names the user gave."""
    licences: list[str] = field(default_factory=list)
    """Those that were accepted."""


def default_folder() -> Path:
    """Where models are remembered for this user."""
    if given := os.environ.get("FMGS_MODELS"):
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "fmgs" / "models"


def manifest_path(folder: Path) -> Path:
    return folder / "models.json"


def read_manifest(folder: Path) -> Manifest:
    """An empty one where there is no file yet.

    Raises:
        ValueError: a file that is no manifest of this format.
    """
    path = manifest_path(folder)
    if not path.is_file():
        return Manifest()
    try:
        content = json.loads(path.read_text())
        found = content.pop("format")
        manifest = Manifest(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected a list of models ({FORMAT}), got {error!r}; move it away and add them again"
        ) from error
    if found != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {found!r}")
    return manifest


@contextmanager
def editing(folder: Path) -> Iterator[Manifest]:
    """The manifest, to be changed; written when the block ends well. Other processes wait for their turn.

    The lock is on a file of its own, since the manifest itself is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / ".lock"):
        manifest = read_manifest(folder)
        yield manifest
        with replacing(manifest_path(folder)) as part:
            content = {"format": FORMAT, "licences": manifest.licences, "models": manifest.models}
            part.write_text(json.dumps(content, indent=1) + "\n")
