"""What render_node can be told; each field is one of its parameters. No ROS needed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fmgs_core.body.default import default_body
from fmgs_core.body.smplx import load_smpl, load_smplx
from fmgs_core.body.template import BodyModel
from fmgs_core.rendering.view_sources import AroundConfig, Lens
from fmgs_core.transport.keys import ClientKeys
from fmgs_ros.diagnostics import DiagnosticsConfig
from fmgs_ros.qos import check_qos


@dataclass(frozen=True)
class ViewConfig:
    """From where is drawn."""

    mode: Literal["follow", "orbit", "camera", "pose", "frame"] = "follow"
    """follow: around the person, turning with them. orbit: around the person, who turns before it. camera: where the camera
    stands that watches the person. pose: the newest PoseStamped on `view`. frame: the tf frame view.frame."""
    frame: str = ""
    """tf frame of the camera's optical axes (x right, y down, z forward), for mode frame."""
    lens: Lens = field(default_factory=Lens)
    around: AroundConfig = field(default_factory=AroundConfig)

    def __post_init__(self):
        if self.mode == "frame" and not self.frame:
            raise ValueError("ViewConfig.frame: expected the name of a tf frame for mode frame, got ''")


@dataclass(frozen=True)
class DriveConfig:
    """What moves the avatar."""

    mode: Literal["live", "rest", "file"] = "live"
    """live: each body_state, as it comes. rest: nothing, it stands in its T-pose. file: the motion of drive.file."""
    file: Path | None = None
    """npz with pose (n, J, 3) [rad], transl (n, 3) [m] and perhaps expression (n, E), such as the params.npz of `fmgs run`."""
    fps: float = 30.0
    """Poses of the file per second."""
    rate_hz: float = 15.0
    """Pictures per second in modes rest and file, at most."""

    def __post_init__(self):
        if self.mode == "file" and self.file is None:
            raise ValueError("DriveConfig.file: expected an npz file for mode file, got none")
        for name, most in (("fps", 1000), ("rate_hz", 240)):
            if not 0.01 <= getattr(self, name) <= most:
                raise ValueError(f"DriveConfig.{name}: expected 0.01 to {most}, got {getattr(self, name)}")


@dataclass(frozen=True)
class BodyConfig:
    """Which body the avatar sits on; the trainer's has to be the same."""

    file: Path | None = None
    """A SMPL-X or SMPL model file (npz or pkl) in place of the default body."""
    format: Literal["smplx", "smpl"] = "smplx"
    """What kind of file that is."""

    def load(self) -> BodyModel:
        if self.file is None:
            return default_body()
        return load_smplx(self.file) if self.format == "smplx" else load_smpl(self.file)


@dataclass(frozen=True)
class FetchConfig:
    """How snapshots are fetched from the trainer."""

    timeout_s: float = 5.0
    """Seconds without a new byte after which a fetch is given up, and tried again."""
    retry_s: float = 1.0
    """Seconds until it is tried again."""
    keys: Path | None = None
    """Folder with client.key_secret and server.key (`fmgs keys`), for a trainer on another machine."""

    def __post_init__(self):
        for name in ("timeout_s", "retry_s"):
            if not 0.1 <= getattr(self, name) <= 60:
                raise ValueError(f"FetchConfig.{name}: expected 0.1 to 60 s, got {getattr(self, name)}")

    def client_keys(self) -> ClientKeys | None:
        return None if self.keys is None else ClientKeys.read(self.keys)


@dataclass(frozen=True)
class RenderConfig:
    """Of render_node."""

    avatar_file: Path | None = None
    """Avatar to draw in place of the trainer's snapshots: avatar.safetensors of a run, or what ~/save wrote."""
    view: ViewConfig = field(default_factory=ViewConfig)
    drive: DriveConfig = field(default_factory=DriveConfig)
    body: BodyConfig = field(default_factory=BodyConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    background: tuple[int, int, int] = (255, 255, 255)
    """Colour behind the avatar: red, green, blue in 0 to 255."""
    fill_unseen: bool = True
    """Whether what no camera has seen takes colours from the other side of the body and the neighbourhood."""
    backend: Literal["cpu", "cuda"] = "cpu"
    """What draws: cpu, or cuda on an NVIDIA GPU."""
    frame_id: str = "camera_optical_frame"
    """Optical frame of the camera that watches the person, until a body_state names another."""
    jpeg_quality: int = 90
    """Of image_raw/compressed, in 1 to 100."""
    input_qos: str = "SENSOR_DATA"
    """Quality of service of body_state and view."""
    output_qos: str = "NEWEST"
    """Quality of service of the pictures."""
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)

    def __post_init__(self):
        if len(self.background) != 3 or not all(0 <= v <= 255 for v in self.background):
            raise ValueError(f"RenderConfig.background: expected three values of 0 to 255, got {self.background}")
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"RenderConfig.jpeg_quality: expected 1 to 100, got {self.jpeg_quality}")
        if not self.frame_id:
            raise ValueError("RenderConfig.frame_id: expected the name of a frame, got ''")
        check_qos("RenderConfig.input_qos", self.input_qos)
        check_qos("RenderConfig.output_qos", self.output_qos)
