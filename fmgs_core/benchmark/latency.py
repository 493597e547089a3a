"""Suite `latency`: from a camera's stamp to a finished view, with everything running at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

import numpy as np

from fmgs_core.benchmark.measurement import Better, Measurement, Progress, interleaved_ms, speed, speeds
from fmgs_core.benchmark.pacing import PacedLoop
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.benchmark.viewer import Viewer
from fmgs_core.body.template import BodyModel
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.priors.mediapipe import MediaPipePrior
from fmgs_core.priors.template import template_maps
from fmgs_core.session.events import Event
from fmgs_core.session.events import Progress as SessionProgress
from fmgs_core.session.session import Session
from fmgs_core.session.warmup import warm_up
from fmgs_core.stream.source import open_source
from fmgs_core.tracking.tracker import BodyTracker
from fmgs_core.types import Frame

RATES_HZ = (15.0, 30.0)
SETTLING_S = 2.0
"""The first frames, on which the tracker looks for the person, do not count."""
SNAPSHOTS_EVERY_S = 0.5
# Wall times of three threads on two cores scatter more than one thread's; their worst twentieth more still.
STAGE_TOLERANCE, MEDIAN_TOLERANCE, P95_TOLERANCE, RATE_TOLERANCE, SHARE_TOLERANCE = 0.25, 0.35, 0.5, 0.35, 0.15
SUITE = "latency"


@dataclass(frozen=True)
class LiveRun:
    """What one live session left to count."""

    ages_s: list[float]
    """Of the views, in order, from the release of the frame to the complete picture."""
    iterations_per_s: float
    frames: int
    """Tracked."""
    dropped: int
    """Released, but never looked at."""


def latency_suite(
    body: BodyModel, config: BenchmarkConfig, reference: Callable[[], object] | None, progress: Progress
) -> Iterator[Measurement]:
    """Prior, tracker and template maps by themselves; then live sessions at each of RATES_HZ with a viewer beside them."""
    progress(f"{SUITE}: loading {config.sample}")
    frames = recorded_frames(config)
    session = SessionConfig(gaussians=config.gaussians, budget_s=config.live_s, save_every_s=SNAPSHOTS_EVERY_S)
    warm_up(body, session, lambda event: None)
    yield from _stages(body, frames, config, reference, progress)
    for rate_hz in RATES_HZ:
        before_ms = _reference_ms(reference, config)
        progress(f"{SUITE}: a live session at {rate_hz:g} Hz, {config.live_s:g} s")
        run = live_run(body, frames, rate_hz, session)
        after_ms = _reference_ms(reference, config)
        reference_ms = None if before_ms is None or after_ms is None else (before_ms + after_ms) / 2
        yield from live_rows(rate_hz, run, reference_ms)


def recorded_frames(config: BenchmarkConfig) -> list[Frame]:
    with open_source(config.sample) as source:
        return list(iter(source.read, None))


def live_run(body: BodyModel, frames: Sequence[Frame], rate_hz: float, config: SessionConfig) -> LiveRun:
    """A session with the real prior and tracker."""
    progress: list[SessionProgress] = []
    with ExitStack() as stack:
        source = PacedLoop(frames, rate_hz)
        stack.enter_context(source)
        prior = MediaPipePrior(config.mediapipe)
        stack.callback(prior.close)
        viewer = stack.enter_context(Viewer(body, BodyTracker(body, config.tracker), source.age_s))

        def on_event(event: Event) -> None:
            viewer.hear(event)
            if isinstance(event, SessionProgress):
                progress.append(event)

        result = Session(source, prior, viewer, body, config, on_event).run(Pace.LIVE)
    ages_s = [age_s for stamp_ns, age_s in viewer.views if stamp_ns * 1e-9 >= SETTLING_S]
    if not ages_s:
        raise RuntimeError(f"{SUITE}: expected views of a tracked person after {SETTLING_S:g} s at {rate_hz:g} Hz, got none")
    return LiveRun(ages_s, _settled_rate(progress), result.frames, source.dropped)


def live_rows(rate_hz: float, run: LiveRun, reference_ms: float | None) -> Iterator[Measurement]:
    median_ms, p95_ms = 1e3 * np.percentile(run.ages_s, (50, 95))
    yield speed(SUITE, f"stamp to view at {rate_hz:g} Hz, median", float(median_ms), reference_ms, MEDIAN_TOLERANCE)
    yield speed(SUITE, f"stamp to view at {rate_hz:g} Hz, p95", float(p95_ms), reference_ms, P95_TOLERANCE)
    name, ratio = f"training beside {rate_hz:g} Hz", None
    if reference_ms is not None:
        ratio = run.iterations_per_s * reference_ms / 1e3
    yield Measurement(SUITE, name, run.iterations_per_s, "1/s", Better.HIGHER, RATE_TOLERANCE, ratio)
    share = run.frames / (run.frames + run.dropped)
    yield Measurement(SUITE, f"frames tracked at {rate_hz:g} Hz", share, "ratio", Better.HIGHER, SHARE_TOLERANCE, None)


def _settled_rate(progress: list[SessionProgress]) -> float:
    """Training iterations per second after the first seconds."""
    settled = [event for event in progress if event.elapsed_s >= SETTLING_S]
    first, last = settled[0], settled[-1]
    return (last.iterations - first.iterations) / max(last.elapsed_s - first.elapsed_s, 1e-9)


def _reference_ms(reference: Callable[[], object] | None, config: BenchmarkConfig) -> float | None:
    """Taken before and after a session, never beside it."""
    if reference is None:
        return None
    return interleaved_ms({"reference": reference}, config.repeats, config.warm_up)["reference"]


def _stages(
    body: BodyModel,
    frames: Sequence[Frame],
    config: BenchmarkConfig,
    reference: Callable[[], object] | None,
    progress: Progress,
) -> Iterator[Measurement]:
    """What comes before the trainer, one after the other, alone on the machine."""
    progress(f"{SUITE}: {config.repeats + config.warm_up} frames through prior, tracker and template maps")
    prior = MediaPipePrior()
    with closing(prior):
        chain = _Chain(body, PacedLoop(frames, RATES_HZ[0]), prior)
        calls = {"prior: MediaPipe": chain.predict, "tracker": chain.track, "template maps": chain.draw_template}
        yield from speeds(SUITE, calls, reference, config.repeats, config.warm_up, STAGE_TOLERANCE)


class _Chain:
    """The stages as calls that take their turn, each on what the one before it left."""

    def __init__(self, body: BodyModel, source: PacedLoop, prior: MediaPipePrior):
        self._body, self._source, self._prior, self._tracker = body, source, prior, BodyTracker(body)
        self._state = replace(body.neutral_state(), transl=np.array([0, 0, -3.0]))

    def predict(self) -> None:
        frame = self._source.read()
        assert frame is not None
        self._frame, self._maps = frame, self._prior.predict(frame)

    def track(self) -> None:
        state = self._tracker.update(self._frame, self._maps).state
        self._state = self._state if state is None else state

    def draw_template(self) -> None:
        template_maps(self._body, self._state, self._frame.camera)
