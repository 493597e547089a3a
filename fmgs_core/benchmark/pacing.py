"""A recording that plays for as long as it is asked to, at a rate of one's choice."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from fmgs_core.stream.replay import Frames, ReplaySource
from fmgs_core.stream.source import Clock, SourceConfig
from fmgs_core.types import Frame


class PacedLoop(ReplaySource):
    """Frames decoded beforehand, played forth and back without end: there is no cut that a tracker would stumble over."""

    def __init__(self, frames: Sequence[Frame], rate_hz: float, clock: Clock | None = None):
        name = f"{len(frames)} frames forth and back at {rate_hz:g} Hz"
        super().__init__(
            name, _forth_and_back(frames, rate_hz), SourceConfig(),
            fps=rate_hz, length=None, estimated=lambda: False, clock=clock or Clock(),
        )  # fmt: skip

    def age_s(self, stamp_ns: int) -> float:
        """Seconds since a frame was due, as if the camera had exposed it then; only while read_latest is being used."""
        return self._position_s() - (stamp_ns - self._first_ns) * 1e-9


def _forth_and_back(frames: Sequence[Frame], rate_hz: float) -> Frames:
    turns = itertools.cycle([*frames, *frames[-2:0:-1]])
    for index, frame in enumerate(turns):
        yield replace(frame, stamp_ns=round(index * 1e9 / rate_hz))
