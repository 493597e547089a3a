"""How the body stood in each frame that was learned from."""

from collections.abc import Mapping, Set

from fmgs_core.types import BodyState, Camera

# Tracked states kept of a stream that has no end, 22 minutes at 15 Hz; 2.5 kB each, a day would take 3 GB.
MAX_STATES = 20_000


class TrackedStates:
    def __init__(self):
        self.by_stamp: dict[int, tuple[BodyState, Camera]] = {}

    def add(self, stamp_ns: int, state: BodyState, camera: Camera) -> None:
        self.by_stamp[stamp_ns] = (state, camera)

    def restate(self, states: Mapping[int, BodyState]) -> None:
        """States that are known better by what came after them."""
        for stamp_ns in states.keys() & self.by_stamp.keys():
            self.by_stamp[stamp_ns] = (states[stamp_ns], self.by_stamp[stamp_ns][1])

    @property
    def too_many(self) -> bool:
        return len(self.by_stamp) > MAX_STATES

    def forget_old(self, kept: Set[int]) -> None:
        """The older half; those of keyframes stay, because their poses are still being refined."""
        for stamp_ns in list(self.by_stamp)[: len(self.by_stamp) // 2]:
            if stamp_ns not in kept:
                del self.by_stamp[stamp_ns]
