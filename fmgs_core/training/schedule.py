"""When which part learns, and how fast: a function of evidence seen and not of iteration count, for a stream has no end."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduleConfig:
    """Evidence needed before a part of the model may move."""

    geometry_after_keyframes: int = 4
    """Offsets, rotations and scales stay at the template before this many different views: one view cannot place them."""
    pose_after_keyframes: int = 12
    """Poses move only once the avatar, seen from this many views, is a better judge of them than the tracker."""
    geometry_after_iterations: int = 0
    """As well as after this many training steps: offline, where all views are there from the first step on."""
    pose_after_iterations: int = 0
    """Likewise for the poses."""
    decay_iterations: float = 500.0
    """Learning rates halve in this many iterations without anything new in the stream."""
    decay_floor: float = 0.08
    """Share of the learning rates that always stays, so that the avatar can go on learning."""

    def __post_init__(self):
        for name, low, high in (("geometry_after_keyframes", 1, 1e9), ("pose_after_keyframes", 1, 1e9),
                                ("geometry_after_iterations", 0, 1e9), ("pose_after_iterations", 0, 1e9),
                                ("decay_iterations", 1, 1e9), ("decay_floor", 0, 1)):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"ScheduleConfig.{name}: expected {low} to {high:g}, got {getattr(self, name)}")


class Schedule:
    """Counts evidence. Novelty keeps the learning rates up, repetition lets them decay towards their floor."""

    def __init__(self, config: ScheduleConfig):
        self._config = config
        self.keyframes_seen = self._iterations = 0
        self._stale_iterations = 0.0

    def saw_keyframe(self, share_new: float) -> None:
        """A keyframe entered the memory that makes up `share_new` of it: one new view among a hundred wins back a
        hundredth of the decay."""
        self.keyframes_seen += 1
        self._stale_iterations *= 1 - share_new

    def stepped(self) -> None:
        self._iterations += 1
        self._stale_iterations += 1

    @property
    def learns_geometry(self) -> bool:
        return self._passed(self._config.geometry_after_keyframes, self._config.geometry_after_iterations)

    @property
    def learns_pose(self) -> bool:
        return self._passed(self._config.pose_after_keyframes, self._config.pose_after_iterations)

    @property
    def rate(self) -> float:
        """Factor on every learning rate, in [decay_floor, 1]."""
        return max(self._config.decay_floor, 0.5 ** (self._stale_iterations / self._config.decay_iterations))

    def _passed(self, keyframes: int, iterations: int) -> bool:
        return self.keyframes_seen >= keyframes and self._iterations >= iterations
