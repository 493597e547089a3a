"""What the services of avatar_node write and read. No ROS needed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fmgs_core.atomic import replacing
from fmgs_core.avatar.completion import complete
from fmgs_core.avatar.snapshot import AvatarSnapshot, load_avatar, save_avatar
from fmgs_core.body.template import BodyModel
from fmgs_core.rendering.files import write_avatar


def named(file_path: str) -> Path:
    """Raises ValueError when there is no name."""
    if not file_path:
        raise ValueError("file_path: expected the name of a file, got ''")
    return Path(file_path)


def learned(snapshot: AvatarSnapshot | None) -> AvatarSnapshot:
    """Raises ValueError when there is none."""
    if snapshot is None:
        raise ValueError("avatar: expected one that has been learned or loaded, got none so far")
    return snapshot


def save(path: Path, snapshot: AvatarSnapshot) -> str:
    """Returns what to tell people, as all of these do."""
    save_avatar(path, snapshot)
    return f"{path}: avatar after {snapshot.iterations} iterations and {snapshot.frames_seen} frames"


def load(path: Path, body: BodyModel) -> tuple[AvatarSnapshot, str]:
    """Raises:
    ValueError: no such file, or one that does not fit the body.
    """
    snapshot = load_avatar(path)
    snapshot.avatar(body)
    return snapshot, f"{path}: going on from {snapshot.iterations} iterations and {snapshot.frames_seen} frames"


def export(path: Path, snapshot: AvatarSnapshot, body: BodyModel) -> str:
    """Raises:
    ValueError: an ending other than .ply and .glb.
    """
    avatar = snapshot.avatar(body)
    complete(avatar)
    write_avatar(path, avatar)
    return f"{path}: {len(snapshot.tensors['observed'])} Gaussians"


def save_timings(path: Path, content: Mapping[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    return f"{path}: times of {len(content['stages_ms'])} stages"
