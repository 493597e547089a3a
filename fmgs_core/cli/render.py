"""`fmgs render` and `fmgs export`: an avatar drawn in any pose from any view, or as a file for other programs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import track

from fmgs_core.avatar.completion import complete
from fmgs_core.avatar.light import RoomLight, directional
from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import load_avatar
from fmgs_core.cli.body_choice import BodyChoice
from fmgs_core.export.video import VideoWriter
from fmgs_core.mapfiles import write_depth, write_labels, write_mask, write_normal, write_rgb
from fmgs_core.rendering.files import write_avatar
from fmgs_core.rendering.motion import load_arrays, load_motion
from fmgs_core.rendering.pictures import color_picture, confidence_map, draw, label_map
from fmgs_core.rendering.views import around
from fmgs_core.stream.sequence import Sequence
from fmgs_core.types import BodyState, Camera, Channel, Rendering

ORBIT_FRAMES = 90


@dataclass(frozen=True)
class Render:
    """Draw an avatar: pictures, masks, depth, normals, labels and confidence in the layout of avatar_gt/1, and a video."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """avatar.safetensors of a run."""
    out: Path
    """Folder for rgb/, mask/, depth/, normal/, label/, confidence/ (8 bit; how far what is drawn was ever seen) and
    render.mp4."""
    poses: Path | None = None
    """npz with pose (n, J, 3) [rad], transl (n, 3) [m] and perhaps expression (n, E), such as a sequence's params.npz.
    Without it the body stands in its T-pose."""
    camera: str = "orbit"
    """"orbit", or an npz with K (3, 3) and T_camera_world (4, 4) or (n, 4, 4), such as a sequence's params.npz."""
    size_px: int = 512
    """Side of an orbit's pictures. A camera file has its own size: width and height in it, else in the meta.json of the
    sequence it belongs to, else twice the principal point."""
    frames: int | None = None
    """How many pictures; by default one per pose, or 90 when there is no motion."""
    fps: float = 30.0
    light: str = "learned"
    """"learned": the room's. "even": none, the albedo alone. "AZIMUTH,ELEVATION" or "AZIMUTH,ELEVATION,STRENGTH": a lamp
    [degrees] that stands still while the body turns; azimuth 0 is the body's front at rest and 90 its left, strength is how
    much brighter a surface is that faces it (0.4)."""
    body: tyro.conf.OmitArgPrefixes[BodyChoice] = field(default_factory=BodyChoice)

    def __post_init__(self):
        if self.size_px < 16 or (self.frames is not None and self.frames < 1):
            raise ValueError(f"size_px, frames: expected at least 16 and 1, got {self.size_px} and {self.frames}")

    def run(self) -> int:
        avatar = loaded_avatar(self.avatar, self.body)
        if self.light != "learned":
            avatar.light = lamp(self.light)
        states = [avatar.body.neutral_state()] if self.poses is None else load_motion(self.poses, avatar)
        count = self.frames or (ORBIT_FRAMES if len(states) == 1 else len(states))
        cameras = list(islice(self._cameras(avatar, states, count), count))
        with VideoWriter(self.out_folder() / "render.mp4", self.fps) as video:
            for i in track(range(count), "drawing", console=Console(stderr=True), transient=True):
                state, camera = states[i % len(states)], cameras[i]
                rendering = draw(avatar, state, camera, frozenset(Channel))
                write_maps(self.out, i, rendering)
                write_mask(self.out / "confidence" / f"{i:06d}.png", confidence_map(avatar, state, camera))
                video.write(color_picture(rendering))
        print(f"{count} pictures in {self.out}")
        return 0

    def out_folder(self) -> Path:
        self.out.mkdir(parents=True, exist_ok=True)
        return self.out

    def _cameras(self, avatar: Avatar, states: list[BodyState], count: int) -> Iterator[Camera]:
        if self.camera != "orbit":
            return iter(load_cameras(Path(self.camera), count))
        return around(avatar.body, avatar.betas, states[0], count, self.size_px)


@dataclass(frozen=True)
class Export:
    """Write an avatar as a file that other programs open, in its T-pose."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """avatar.safetensors of a run."""
    out: Annotated[Path, tyro.conf.Positional]
    """A .ply (Gaussians in the layout of 3D Gaussian Splatting) or .glb (coloured mesh) file."""
    body: tyro.conf.OmitArgPrefixes[BodyChoice] = field(default_factory=BodyChoice)

    def run(self) -> int:
        avatar = loaded_avatar(self.avatar, self.body)
        write_avatar(self.out, avatar)
        print(self.out)
        return 0


def loaded_avatar(file: Path, body: BodyChoice) -> Avatar:
    """As saved, with what was never seen filled in."""
    avatar = load_avatar(file).avatar(body.load())
    complete(avatar)
    return avatar


def lamp(spec: str) -> RoomLight:
    """Even light, or a lamp at azimuth and elevation [degrees].

    Raises:
        ValueError: neither "even" nor two or three finite numbers.
    """
    if spec == "even":
        return RoomLight()
    try:
        azimuth, elevation, strength = (*map(float, spec.split(",")), 0.4)[:3]
    except ValueError:
        azimuth = elevation = strength = math.nan
    if not all(map(math.isfinite, (azimuth, elevation, strength))) or spec.count(",") > 2:
        raise ValueError(f"light: expected learned, even, or AZIMUTH,ELEVATION[,STRENGTH] in degrees, got {spec!r}")
    a, e = math.radians(azimuth), math.radians(elevation)
    return directional(torch.tensor([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)]), strength)


def write_maps(folder: Path, index: int, rendering: Rendering) -> None:
    """One rendering in the layout of avatar_gt/1."""
    name = f"{index:06d}.png"
    alpha = rendering.alpha.numpy()
    shown = alpha > 0.5
    assert rendering.depth is not None and rendering.normal is not None
    write_rgb(folder / "rgb" / name, color_picture(rendering, background=0.0))
    write_mask(folder / "mask" / name, alpha)
    write_depth(folder / "depth" / name, np.where(shown, rendering.depth.numpy(), np.nan))
    write_normal(folder / "normal" / name, rendering.normal.numpy(), shown)
    write_labels(folder / "label" / name, label_map(rendering))


def load_cameras(path: Path, count: int) -> list[Camera]:
    """One camera per picture; a single one serves all.

    Raises:
        ValueError: not such a file, or fewer cameras than pictures.
    """
    data = load_arrays(path, ("K", "T_camera_world"))
    K, T = data["K"], data["T_camera_world"]
    if K.shape != (3, 3) or T.shape[-2:] != (4, 4) or T.ndim not in (2, 3):
        raise ValueError(f"{path}: expected K (3, 3) and T_camera_world (4, 4) or (n, 4, 4), got {K.shape} and {T.shape}")
    if T.ndim == 3 and len(T) < count:
        raise ValueError(f"{path}: expected at least {count} cameras, one per picture, got {len(T)}")
    width, height = _picture_size(path, data)
    return [Camera(K, width, height, T[i] if T.ndim == 3 else T) for i in range(count)]


def _picture_size(camera_file: Path, data: dict[str, np.ndarray]) -> tuple[int, int]:
    """Width and height [px]."""
    meta = camera_file.absolute().parent.parent / "meta.json"
    if "width" in data and "height" in data:
        return int(data["width"]), int(data["height"])
    if camera_file.name == "params.npz" and meta.is_file():
        sequence = Sequence(meta.parent)
        return sequence.meta["width"], sequence.meta["height"]
    return round(2 * data["K"][0, 2]), round(2 * data["K"][1, 2])
