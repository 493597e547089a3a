"""What a session says while it runs. Progress bar, ROS status, log and tests all read this one stream."""

from dataclasses import dataclass

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.session.conventions import ConventionCheck
from fmgs_core.tracking.tracker import TrackingStatus
from fmgs_core.types import BodyState, Frame, PriorMaps


@dataclass(frozen=True)
class Preparing:
    """Something that takes seconds before the stream starts."""

    what: str


@dataclass(frozen=True)
class SourceOpened:
    name: str
    width: int
    height: int
    fps: float | None
    length: int | None
    focal_px: float
    focal_is_estimated: bool


@dataclass(frozen=True, eq=False)
class FrameTracked:
    index: int
    """Frames looked at so far, from 0."""
    stamp_ns: int
    status: TrackingStatus
    confidence: float
    flip_corrected: bool
    frame: Frame
    maps: PriorMaps
    """With the template's own where the prior had none."""
    state: BodyState | None
    """As tracked; None unless TRACKING."""


@dataclass(frozen=True)
class StatusChanged:
    """The person was found, lost, or found again."""

    stamp_ns: int
    before: TrackingStatus
    after: TrackingStatus


@dataclass(frozen=True)
class Progress:
    elapsed_s: float
    frames: int
    """Frames looked at."""
    frames_dropped: int
    """Came too late, could not be used, or came while the session was paused."""
    frames_per_s: float
    iterations: int
    iterations_per_s: float
    keyframes: int
    loss: float
    """Mean weighted sum since the last event; NaN before the first step."""
    psnr_db: float | None
    """On held-back keyframes; None while there are none."""
    yaw_deg: float
    """Of the circle around the person, seen so far."""
    gaussians: int


@dataclass(frozen=True)
class SwitchedOn:
    """A part of the method began, for good, because there was enough evidence."""

    elapsed_s: float
    what: str
    why: str


@dataclass(frozen=True)
class MapsChecked:
    """The first maps of a slow model were compared with the body in the same pose, and set right if need be."""

    model: str
    check: ConventionCheck
    ms: float | None
    """Median wall time of one look."""

    def __str__(self) -> str:
        check, said = self.check, []
        if check.normal_deg is not None:
            said.append(f"normals {check.normal_deg:.0f}° from the body's, signs of x, y, z {check.signs}")
        if check.depth_correlation is not None:
            order = "reversed" if check.depth_is_reversed else "kept"
            said.append(f"order of depth {order} (rank correlation {check.depth_correlation:.2f})")
        ms = "" if self.ms is None else f", {self.ms:.0f} ms each"
        return f"{self.model}: {', '.join(said) or 'no normals or depth'}; by {check.maps} map(s){ms}"


@dataclass(frozen=True)
class SnapshotTaken:
    snapshot: AvatarSnapshot


@dataclass(frozen=True)
class Warned:
    message: str


@dataclass(frozen=True)
class Finished:
    reason: str
    """Why it ended: the stream did, the budget was spent, the user asked, or what broke."""


Event = (
    Preparing
    | SourceOpened
    | FrameTracked
    | StatusChanged
    | Progress
    | SwitchedOn
    | MapsChecked
    | SnapshotTaken
    | Warned
    | Finished
)
