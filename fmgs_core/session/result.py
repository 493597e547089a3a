"""How a session ends: with an avatar and all that is known of the run, or with nobody found."""

from dataclasses import dataclass

from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.session.events import Progress, SwitchedOn
from fmgs_core.session.recording import Recording
from fmgs_core.session.side_car import SideCarReport
from fmgs_core.types import BodyState


class NobodyFound(RuntimeError):
    """The stream ended and no frame showed a person well enough to learn from."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run had learned at some moment: what it would have left had it been stopped there."""

    elapsed_s: float
    """Since the first frame was asked for."""
    snapshot: AvatarSnapshot
    states: dict[int, BodyState]
    """As of SessionResult."""


@dataclass(frozen=True)
class SessionResult:
    """What a finished session leaves."""

    avatar: Avatar
    snapshot: AvatarSnapshot
    states: dict[int, BodyState]
    """Body state by stamp: refined where the frame is a keyframe, as tracked elsewhere (with the final shape)."""
    recording: Recording
    progress: list[Progress]
    switches: list[SwitchedOn]
    timings_ms: dict[str, float]
    """Median wall milliseconds by stage."""
    frames: int
    frames_with_person: int
    fit_wall_s: float
    """From the first frame to the last training step."""
    skipped_steps: int
    warnings: list[str]
    reason: str
    side_car: SideCarReport | None = None
    """Of the model beside the session, if there was one."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """One for each that was asked for and reached, in order."""
