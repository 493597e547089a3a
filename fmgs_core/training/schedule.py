"""When which part learns, and how fast: a function of evidence seen and not of iteration count, for a stream has no end."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from jaxtyping import Float
from torch import Tensor

from fmgs_core.training.coverage import YawCoverage
from fmgs_core.training.plateau import Plateau


class Part(Enum):
    """What is switched on by evidence."""

    GEOMETRY = "geometry"
    """Offsets, rotations and scales leave the template."""
    POSE = "poses"
    """Poses of keyframes are refined."""
    SKINNING = "free skinning"
    """A skinning field is no longer pulled to the template's weights, but for a hundredth."""
    CAPACITY = "more Gaussians"
    """Faces are divided. When is the session's decision: it depends on speed."""


@dataclass(frozen=True)
class ScheduleConfig:
    """Evidence needed before a part of the model may move."""

    geometry_after_keyframes: int = 4
    """Offsets, rotations and scales stay at the template before this many different views: one view cannot place them."""
    geometry_after_yaw_deg: float = 40.0
    """And before the person was seen over this much of the circle, or shows no new side: frames of one view are one view."""
    pose_after_keyframes: int = 12
    """Poses move only once the avatar, seen from this many views, is a better judge of them than the tracker."""
    pose_after_yaw_deg: float = 60.0
    """And over this much of the circle, or as much of it as there is."""
    no_new_side_frames: int = 45
    """So many frames from known directions mean that no new side is to come: 3 s at 15 Hz. Who turns only half way gets
    everything switched on all the same."""
    plateau_steps: int = 50
    """The residual's means over so many steps are compared..."""
    plateau_fall: float = 0.02
    """...and it has stopped falling when one is not smaller than the best by this share."""
    geometry_after_iterations: int = 0
    """As well as after this many training steps: offline, where all views are there from the first step on."""
    pose_after_iterations: int = 0
    """Likewise for the poses."""
    skinning_after_iterations: int = 0
    """Likewise for the skinning field's freedom. Where this is given, no plateau is waited for."""
    decay_iterations: float = 500.0
    """Learning rates halve in this many iterations without anything new in the stream."""
    decay_floor: float = 0.08
    """Share of the learning rates that always stays, so that the avatar can go on learning."""

    def __post_init__(self):
        for name, low, high in (("geometry_after_keyframes", 1, 1e9), ("pose_after_keyframes", 1, 1e9),
                                ("geometry_after_yaw_deg", 0, 360), ("pose_after_yaw_deg", 0, 360),
                                ("no_new_side_frames", 1, 1e9), ("plateau_steps", 1, 1e9), ("plateau_fall", 0, 1),
                                ("geometry_after_iterations", 0, 1e9), ("pose_after_iterations", 0, 1e9),
                                ("skinning_after_iterations", 0, 1e9),
                                ("decay_iterations", 1, 1e9), ("decay_floor", 0, 1)):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"ScheduleConfig.{name}: expected {low} to {high:g}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Switch:
    """A part that was switched on, and the evidence at that moment."""

    part: Part
    why: str
    keyframes: int
    """Seen so far."""
    yaw_deg: float
    """Of the circle around the person, seen so far."""
    iterations: int


class Schedule:
    """Counts evidence. Novelty keeps the learning rates up, repetition lets them decay towards their floor.

    Args:
        parts: those that wait for evidence; the session adds CAPACITY by `switch_on`.
    """

    def __init__(self, config: ScheduleConfig, parts: Iterable[Part] = (Part.GEOMETRY, Part.POSE)):
        self._config, self._waiting = config, list(parts)
        self.coverage = YawCoverage()
        self.switched: list[Switch] = []
        """In the order of time."""
        self.keyframes_seen = self._iterations = 0
        self._stale_iterations = 0.0
        self._residual = Plateau(config.plateau_steps, config.plateau_fall)
        self._ended = False

    # -- evidence

    def saw_frame(self, yaw_deg: float) -> None:
        """A frame that shows the person, whether or not it is remembered."""
        self.coverage.saw(yaw_deg)
        if not self.coverage.frames_without_news:
            self._residual.forget()
        self._review()

    def saw_keyframe(self, share_new: float) -> None:
        """A keyframe entered the memory that makes up `share_new` of it: one new view among a hundred wins back a
        hundredth of the decay."""
        self.keyframes_seen += 1
        self._stale_iterations *= 1 - share_new
        self._review()

    def stepped(self, residual: Float[Tensor, ""]) -> None:
        """A training step; the residual is its colour loss."""
        self._iterations += 1
        self._stale_iterations += 1
        self._residual.saw(residual)
        self._review()

    def stream_ended(self) -> None:
        """Nothing new will come: what waits for more sides starts with those that there are."""
        self._ended = True
        self._review()

    # -- what follows from it

    @property
    def learns_geometry(self) -> bool:
        return self._is_on(Part.GEOMETRY)

    @property
    def learns_pose(self) -> bool:
        return self._is_on(Part.POSE)

    @property
    def frees_skinning(self) -> bool:
        return self._is_on(Part.SKINNING)

    @property
    def rate(self) -> float:
        """Factor on every learning rate, in [decay_floor, 1]."""
        return max(self._config.decay_floor, 0.5 ** (self._stale_iterations / self._config.decay_iterations))

    @property
    def no_new_side(self) -> str | None:
        """Why no new side of the person is to be waited for; None while one may come."""
        covered, stale = self.coverage.degrees, self.coverage.frames_without_news
        if self._ended:
            return f"the stream ended at {covered:.0f}° of yaw"
        if covered >= 360:
            return "seen from all around"
        return f"no new side in {stale} frames, {covered:.0f}° of yaw" if stale >= self._config.no_new_side_frames else None

    @property
    def settled(self) -> bool:
        """Whether the residual has stopped falling, since the last new side came."""
        return self._residual.reached

    def switch_on(self, part: Part, why: str) -> None:
        """For good: what was learned with it does not become wrong when the stream brings something new."""
        self.switched.append(Switch(part, why, self.keyframes_seen, self.coverage.degrees, self._iterations))

    def _is_on(self, part: Part) -> bool:
        return any(switch.part is part for switch in self.switched)

    def _review(self) -> None:
        for part in list(self._waiting):
            if why := self._evidence_for(part):
                self._waiting.remove(part)
                self.switch_on(part, why)

    def _evidence_for(self, part: Part) -> str | None:
        config = self._config
        match part:
            case Part.GEOMETRY:
                needed = config.geometry_after_keyframes, config.geometry_after_yaw_deg, config.geometry_after_iterations
            case Part.POSE:
                needed = config.pose_after_keyframes, config.pose_after_yaw_deg, config.pose_after_iterations
            case _:
                return self._evidence_for_skinning()
        return self._views(*needed)

    def _views(self, keyframes: int, yaw_deg: float, iterations: int) -> str | None:
        if self.keyframes_seen < keyframes or self._iterations < iterations:
            return None
        covered = self.coverage.degrees
        sides = f"{covered:.0f}° of yaw" if covered >= yaw_deg else self.no_new_side
        return sides and f"{self.keyframes_seen} keyframes, {sides}" + (f", {iterations} steps" if iterations else "")

    def _evidence_for_skinning(self) -> str | None:
        """The template's weights hold until all that is to be seen has been seen and explained as well as they allow."""
        iterations = self._config.skinning_after_iterations
        if iterations:
            return f"{iterations} steps" if self._iterations >= iterations else None
        return f"{self.no_new_side}, the residual settled" if self.no_new_side and self.settled else None
