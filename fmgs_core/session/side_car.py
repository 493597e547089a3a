"""A model too slow for every frame, beside the session: it looks at the newest keyframe whenever it is free."""

import queue
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from fmgs_core.body.template import BodyModel
from fmgs_core.concurrency import Latest
from fmgs_core.config import SideCarConfig
from fmgs_core.keypoints import layout_of
from fmgs_core.priors import Box, DeviceMapModel, DeviceMaps, MapModel
from fmgs_core.priors.template import template_maps
from fmgs_core.session.conventions import ConventionCheck, Conventions
from fmgs_core.training.cuts import check_maps
from fmgs_core.types import BodyState, Frame, PriorMaps

Made = tuple[int, PriorMaps | DeviceMaps]
GIVES_UP_AFTER = 3
"""Failures in a row."""
SAYS_IT_WAITS_AFTER_S = 1.0


@dataclass(frozen=True, eq=False)
class Sighting:
    """One keyframe to be looked at."""

    frame: Frame
    person: Box
    state: BodyState
    """As tracked when the frame came."""


@dataclass(frozen=True)
class SideCarReport:
    """What a model has done so far."""

    model: str
    maps: int
    """Frames it has given maps of."""
    dropped: int
    """Keyframes it had no time for."""
    failures: int
    ms: float | None
    """Median wall time of one look; None before the first."""
    check: ConventionCheck


class SideCar:
    """Looks at sightings one at a time, in a thread of its own once `start` was called. Newest wins: one that nobody had time
    for is dropped and counted.

    A model that fails is told of once, and left alone after GIVES_UP_AFTER failures in a row; the session goes on. Normals and
    depth of the first maps are compared with the body; when the comparison changes its mind, those maps are given again.

    Args:
        on_warning: called from whichever thread looks.
        device: of the trainer. Once its maps were compared, a model on the same one leaves them there.
        clock_s, sleep: for the budget; sleep returns early when its event is set.
    """

    def __init__(
        self,
        model: MapModel,
        body: BodyModel,
        config: SideCarConfig,
        on_warning: Callable[[str], None],
        *,
        device: torch.device | None = None,
        clock_s: Callable[[], float] = time.perf_counter,
        sleep: Callable[[threading.Event, float], object] = threading.Event.wait,
    ):
        self._model, self._body, self._config, self._warn = model, body, config, on_warning
        self._device_model = model if isinstance(model, DeviceMapModel) and model.device == device else None
        self._clock_s, self._sleep = clock_s, sleep
        self._waiting: Latest[Sighting] = Latest()
        self._done: queue.SimpleQueue[Made] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._conventions, self._first = Conventions(), list[tuple[int, PriorMaps]]()
        self._times_ms: list[float] = []
        self._failures = self._failed_in_a_row = 0

    # -- from the session's thread

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="fmgs-maps", daemon=True)
        self._thread.start()

    def submit(self, frame: Frame, person: Box, state: BodyState) -> None:
        """Returns at once when there is a thread, and with the maps ready to be taken when there is none."""
        if self._thread is not None:
            self._waiting.put(Sighting(frame, person, state))
        elif not self.gave_up:
            self._look(Sighting(frame, person, state))

    def take(self) -> list[Made]:
        """Stamps and maps that have been made since, in order. Maps are whole: a later entry of a stamp goes before."""
        taken = []
        while not self._done.empty():
            taken.append(self._done.get())
        return taken

    def close(self) -> None:
        """Ends the thread. A look under way cannot be broken off: it is waited for, and that is said."""
        self._stop.set()
        self._waiting.close()
        if self._thread is not None:
            self._thread.join(SAYS_IT_WAITS_AFTER_S)
            if self._thread.is_alive():
                self._warn(f"{self._model.name}: waiting for the picture it looks at, which cannot be broken off")
                self._thread.join()
        if not self.has_checked:
            self._say_doubts()

    @property
    def gave_up(self) -> bool:
        return self._failed_in_a_row >= GIVES_UP_AFTER

    @property
    def has_checked(self) -> bool:
        """Whether enough maps were compared with the body."""
        return self._conventions.settled

    @property
    def report(self) -> SideCarReport:
        times = list(self._times_ms)  # the thread goes on measuring
        return SideCarReport(
            self._model.name,
            len(times),
            self._waiting.dropped,
            self._failures,
            statistics.median(times) if times else None,
            self._conventions.check,
        )

    # -- from the thread that looks

    def _run(self) -> None:
        while not self._stop.is_set() and not self.gave_up:
            sighting = self._waiting.take()
            if sighting is None or self._stop.is_set():
                return
            start_s = self._clock_s()
            self._look(sighting)
            self._sleep(self._stop, self._config.rest_s(self._clock_s() - start_s))

    def _look(self, sighting: Sighting) -> None:
        frame = sighting.frame
        start_s = self._clock_s()
        try:
            maps = self._maps(frame, sighting.person)
            check_maps(maps, (frame.camera.width, frame.camera.height))
            if maps.keypoints is not None:
                layout_of(maps.keypoints)
        except Exception as error:  # whatever breaks in somebody's model, the avatar is learned without it
            self._failed(error)
            return
        self._times_ms.append(1e3 * (self._clock_s() - start_s))
        self._failed_in_a_row = 0
        self._hand_over(sighting, maps)

    def _maps(self, frame: Frame, person: Box) -> PriorMaps | DeviceMaps:
        if self._device_model is not None and self._conventions.settled:
            return self._device_model.device_maps(frame, person)
        return self._model.maps(frame, person)

    def _hand_over(self, sighting: Sighting, maps: PriorMaps | DeviceMaps) -> None:
        if isinstance(maps, DeviceMaps) or self._conventions.settled:
            self._done.put((sighting.frame.stamp_ns, self._conventions.check.applied(maps)))
        else:
            self._compare(sighting, maps)

    def _compare(self, sighting: Sighting, maps: PriorMaps) -> None:
        fresh = [(sighting.frame.stamp_ns, maps)]
        before = self._conventions.check.changes
        self._conventions.compare(maps, template_maps(self._body, sighting.state, sighting.frame.camera))
        self._first += fresh
        if self._conventions.check.changes != before:
            fresh = self._first.copy()
        if self.has_checked:
            self._say_doubts()
        for stamp_ns, raw in fresh:
            self._done.put((stamp_ns, self._conventions.check.applied(raw)))

    def _say_doubts(self) -> None:
        self._first.clear()
        for doubt in self._conventions.check.doubts():
            self._warn(f"{self._model.name}: {doubt}")

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._failed_in_a_row += 1
        reason = f"{self._model.name}: {type(error).__name__}: {error}"
        if self._failures == 1:
            self._warn(f"{reason}; the avatar is learned without maps of that picture")
        if self.gave_up:
            self._warn(f"{reason}; given up after {GIVES_UP_AFTER} failures in a row, the avatar is learned without it")
