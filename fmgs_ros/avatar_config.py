"""Parameters of avatar_node and replay. No ROS needed."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from fmgs_core.config import OFFLINE_PRESETS, PRESETS, SessionConfig
from fmgs_core.priors.choice import SapiensChoice
from fmgs_ros.diagnostics import DiagnosticsConfig
from fmgs_ros.names import check_body_id
from fmgs_ros.qos import check_qos
from fmgs_ros.render_config import BodyConfig

# A stream has no end, and a parameter cannot be infinite: thirty years.
_NO_BUDGET_S = 1e9
ONLINE_PRESETS = tuple(name for name in PRESETS if name not in OFFLINE_PRESETS)


@dataclass(frozen=True)
class OverlayConfig:
    """The avatar over the picture it was tracked in, drawn while somebody subscribes."""

    kind: Literal["avatar", "body"] = "avatar"
    """avatar: the newest snapshot; until there is one, and with body: the outline of the tracked body, which is cheaper."""
    rate_hz: float = 5.0
    """At most so many a second: drawing takes its time from the training."""
    max_side_px: int = 640
    """Larger pictures are shrunk so that their longer side has this many pixels."""

    def __post_init__(self):
        if not 0 < self.rate_hz <= 1000:
            raise ValueError(f"OverlayConfig.rate_hz: expected more than 0 up to 1000, got {self.rate_hz}")
        if self.max_side_px < 16:
            raise ValueError(f"OverlayConfig.max_side_px: expected at least 16, got {self.max_side_px}")


@dataclass(frozen=True)
class ServerConfig:
    """Where renderers fetch snapshots from (ZeroMQ)."""

    bind: str = "tcp://127.0.0.1:*"
    """tcp://INTERFACE:PORT, port * for any free one. Beyond loopback only with keys."""
    advertise: str = ""
    """Host name that renderers connect to, where bind names all interfaces; empty takes this machine's name."""
    keys: Path | None = None
    """Folder of CURVE keys as `fmgs keys` makes it; none needed on loopback."""


@dataclass(frozen=True)
class AvatarConfig:
    """Everything that avatar_node depends on."""

    transport: Literal["raw", "compressed"] = "raw"
    """Whether pictures come on image_raw or on image_raw/compressed."""
    body_id: str = "person"
    """Names the person in topics and frames, as REP-155 does: letters, digits and _."""
    camera_frame: str = ""
    """Optical frame of body_state and tf; empty takes that of the pictures."""
    estimate_focal: bool = False
    """Whether the focal length of an uncalibrated camera (no camera_info, or K[0] == 0) is guessed instead of refused.
    session.source.focal_px gives it."""
    rectified: bool = False
    """Whether the pictures are undistorted already (image_rect), so that the intrinsics are those of P."""
    body: BodyConfig = field(default_factory=BodyConfig)
    prior: str = "auto"
    """auto: MediaPipe alone. sapiens: the stored models (`fmgs models`) beside it, on keyframes. A folder of recorded maps
    (mask, normal, depth, label, keypoints by stamp; `fmgs priors`), or the name of an installed plugin."""
    landmarks: Literal["mediapipe", "maps"] = "mediapipe"
    """maps: mask and landmarks of `prior` alone, a folder or a plugin; MediaPipe does not run."""
    prior_options: str = ""
    """key=value of a plugin, with spaces between."""
    sapiens: SapiensChoice = field(default_factory=SapiensChoice)
    avatar: Path | None = None
    """Avatar file to go on from at the first activation."""
    autosave: Path | None = None
    """Avatar file that is written every autosave_every_s and at the end; none is written without a name."""
    autosave_every_s: float = 10.0
    """Seconds between two writes."""
    publish_tf: bool = True
    """Whether the frames of the body go to /tf."""
    humans: bool = False
    """Whether the topics of REP-155 are published too; needs hri_msgs."""
    input_qos: str = "SENSOR_DATA"
    """Quality of service of pictures and camera_info."""
    overlay: OverlayConfig = field(default_factory=OverlayConfig)
    snapshots: ServerConfig = field(default_factory=ServerConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    session: SessionConfig = field(default_factory=lambda: online("cpu"))

    def __post_init__(self):
        check_body_id(self.body_id)
        check_qos("AvatarConfig.input_qos", self.input_qos)
        if not self.autosave_every_s > 0:
            raise ValueError(f"AvatarConfig.autosave_every_s: expected more than zero seconds, got {self.autosave_every_s}")


def online(preset: str) -> SessionConfig:
    """A preset for a stream without an end, with a snapshot a second for renderers.

    Raises:
        ValueError: no such preset, or one for recordings only.
    """
    if preset not in ONLINE_PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(ONLINE_PRESETS)}, got {preset!r}")
    return replace(PRESETS[preset], budget_s=_NO_BUDGET_S, save_every_s=1.0)
