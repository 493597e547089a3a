"""One online fit from the first frame to the last training step."""

import sys
import threading
import time
from collections.abc import Callable, Sequence

import numba
import numpy as np
import torch

from fmgs_core.avatar.completion import complete
from fmgs_core.avatar.model import Avatar
from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.subdivision import subdivided
from fmgs_core.body.template import BodyModel
from fmgs_core.concurrency import Cadence
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.priors import MapModel, Prior
from fmgs_core.session.backlog import Backlog
from fmgs_core.session.capacity import Capacity
from fmgs_core.session.events import Event, Finished, FrameTracked, SnapshotTaken, SourceOpened, StatusChanged, Warned
from fmgs_core.session.late_maps import LateMaps
from fmgs_core.session.likeness import Likeness
from fmgs_core.session.meter import Meter
from fmgs_core.session.observer import Observation, Observer, PoseSource
from fmgs_core.session.recording import Recording, StageTimes
from fmgs_core.session.result import Checkpoint, NobodyFound, SessionResult
from fmgs_core.session.side_car import SideCarReport
from fmgs_core.session.tracked_states import TrackedStates
from fmgs_core.session.warnings import Warnings
from fmgs_core.stream.source import FrameSource, SourceError
from fmgs_core.tracking.second_look import SecondLook
from fmgs_core.tracking.tracker import TrackingStatus
from fmgs_core.training.trainer import Trainer
from fmgs_core.types import Camera, Frame

# How soon a paused session heeds a stop [s].
PAUSE_CHECK_S = 0.1

# How long a thread that wants the interpreter waits before it asks for it. Training and tracking hand it to each other
# hundreds of times a step, between kernels that need none: with Python's 5 ms the two together kept one of two cores busy and
# half of a 15 Hz stream was dropped; with this both cores are, and one frame in twenty is dropped.
SWITCH_INTERVAL_S = 5e-4


class Session:
    """Reads a source, tracks the person, trains the avatar, and says what happens in events.

    Args:
        source: open; closing it is the caller's.
        prior, poses: give maps and body states of each frame; `poses` is the tracker or poses known beforehand.
        on_event: called from the thread that runs the session, in order: SourceOpened first (when a frame was looked at),
            Finished last, however the session ends short of a KeyboardInterrupt.
        model: looks at keyframes beside the session and gives their maps later; closing it is the caller's.
        resume: go on from this avatar instead of from nothing.
        checkpoints_s: seconds after which, at the end of the step under way, what was learned is put aside for the result.
        stop: setting it ends the session cleanly after the step under way.
        clock_s: seconds, for budget and beats.
    """

    def __init__(
        self,
        source: FrameSource,
        prior: Prior,
        poses: PoseSource,
        body: BodyModel,
        config: SessionConfig,
        on_event: Callable[[Event], None] = lambda event: None,
        *,
        model: MapModel | None = None,
        resume: AvatarSnapshot | None = None,
        checkpoints_s: Sequence[float] = (),
        stop: threading.Event | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ):
        self._source, self._body, self._config = source, body, config
        division = subdivided(body, max(config.gaussians, len(body.kept_faces)))
        self._capacity = Capacity(division, config.least_iterations_per_s, clock_s)
        self._on_event, self._clock_s = on_event, clock_s
        self._stop = stop or threading.Event()
        self._running = threading.Event()
        self._running.set()
        self._passed_over = 0
        self._observed, self._step_s = Backlog(), 0.0
        self._times = StageTimes()
        likeness = Likeness(config.max_unlikeness, self.warn)
        self._observer = Observer(body, prior, poses, likeness, use_template=config.template_maps, times=self._times)
        self._late_maps = LateMaps(model, body, config, self._times, self.warn, on_event)
        self._recording = Recording(config.recorded_frames)
        self._trainer = None if resume is None else Trainer(resume.avatar(body, config.trainer.device), config.trainer)
        self._resumed = resume is not None
        self._resumed_iterations = 0 if resume is None else resume.iterations
        self._resumed_frames = 0 if resume is None else resume.frames_seen
        self._tracked = TrackedStates()
        self._second_look = SecondLook(body, config.tracker, config.smoothing)
        self._frames = self._usable_frames = 0
        self._status = TrackingStatus.SEARCHING
        self._checkpoints_s, self._checkpoints = sorted(checkpoints_s), list[Checkpoint]()
        self._warnings = Warnings()
        self._announced = False
        self._failure: str | None = None

    def run(self, pace: Pace) -> SessionResult:
        """Blocks until the stream and its training are over, the budget is spent, or stop is set.

        Whatever breaks, a snapshot of what was learned until then is emitted before the error goes on.

        Raises:
            NobodyFound: there was nothing to learn from.
        """
        self._meter = Meter(self._config, self._clock_s)
        self._save_beat = Cadence(self._config.save_every_s, self._clock_s)
        try:
            reason = self._run_all() if pace is Pace.ALL else self._run_live()
            return self._concluded(reason, self._meter.elapsed_s)
        except NobodyFound:
            raise
        except Exception as error:
            self._rescue(f"broken by {type(error).__name__}: {error}")
            raise

    def warn(self, message: str) -> None:
        """Passes on what a stage has to say to the user, each message once; sources take it as their on_warning.

        May be called from any thread; the event comes from the session's own, after SourceOpened.
        """
        self._warnings.add(message)

    def pause(self) -> None:
        """Learns nothing after the step under way, until `resume`. At pace live frames are read and dropped, at pace all
        none is read. The budget goes on. From any thread, like `resume`."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    @property
    def paused(self) -> bool:
        return not self._running.is_set()

    @property
    def frames_dropped(self) -> int:
        """Came too late, could not be used, or came while paused."""
        return self._source.dropped + self._passed_over + self._observed.dropped

    def timings_ms(self) -> dict[str, float]:
        """Median wall milliseconds by stage so far. From any thread."""
        return self._times.medians()

    # -- the two paces

    def _run_all(self) -> str:
        while self._goes_on():
            frame = self._next_frame(self._source.read)
            if frame is None:
                break
            self._take(self._observe(frame))
            self._train(self._config.iterations_per_frame)
        self._look_at_the_rest()
        if self._config.final_iterations:
            self._end_stream(grow=True)
        self._train(self._config.final_iterations)
        return self._reason("the stream ended", stopped=self._stop.is_set())

    def _run_live(self) -> str:
        watcher = threading.Thread(target=self._watch, name="fmgs-observer", daemon=True)
        watcher.start()
        self._late_maps.start()
        reason, watching = "the budget was spent", True
        threads, switch_interval_s = numba.get_num_threads(), sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            while not self._stop.is_set() and self._meter.elapsed_s < self._config.budget_s:
                waits = self.paused or self._trainer is None or self._trainer.newest is None
                if watching:
                    watching = self._receive(wait_s=0.1 if waits else 0.0)
                    if not watching:
                        self._look_at_the_rest()
                        self._end_stream(grow=False)
                    # One core belongs to prior and tracker: when training took both of two, half of the frames were lost.
                    numba.set_num_threads(max(1, threads - 1) if watching else threads)
                elif self.paused:
                    self._running.wait(PAUSE_CHECK_S)
                elif waits:
                    reason = "the stream ended"
                    break
                if not waits:
                    self._step()
                    self._grow_if_worth_it(streaming=watching)
        finally:
            stopped_by_user = self._stop.is_set()
            self._stop.set()
            watcher.join()
            numba.set_num_threads(threads)
            sys.setswitchinterval(switch_interval_s)
        return self._reason(reason, stopped=stopped_by_user)

    def _reason(self, reason: str, *, stopped: bool) -> str:
        return "stopped by the user" if stopped else self._failure or reason

    def _watch(self) -> None:
        """Capture, prior and tracker: never waits for training, takes the newest frame each time."""
        try:
            while not self._stop.is_set() and not self._source.ended and self._failure is None:
                frame = self._next_frame(lambda: self._source.read_latest(self._config.max_frame_age_s))
                if frame is None:
                    continue
                if self.paused:
                    self._passed_over += 1
                else:
                    self._observed.put(self._observe(frame))
            self._observed.put(None)
        except BaseException as error:  # handed over whole: the session's thread decides what it means
            self._observed.put(error)

    def _next_frame(self, read: Callable[[], Frame | None]) -> Frame | None:
        """A source that breaks is told of and counts as ended: what it has shown is worth training on."""
        try:
            return read()
        except (ValueError, SourceError) as error:
            self._failure = f"the source broke: {error}"
            self.warn(self._failure)
            return None

    def _receive(self, wait_s: float) -> bool:
        """Takes in what was observed for as long as the last training step took, so that neither keeps the other from its turn;
        False once the stream is over."""
        if self._announced:
            self._say_warnings()
        self._observed.wait(wait_s)
        start_s = self._clock_s()
        while len(self._observed):
            item = self._observed.take()
            if item is None:
                return False
            if isinstance(item, BaseException):
                raise item
            self._take(item)
            if self._clock_s() - start_s >= self._step_s:
                break
        return True

    # -- one frame, one step

    def _observe(self, frame: Frame) -> Observation:
        self._frames += 1
        return self._observer.observe(frame)

    def _take(self, seen: Observation) -> None:
        """Into the record and, when it shows the person, into the memory."""
        tracked = seen.tracked
        if not self._announced:
            self._announce_source(seen.frame.camera)
        if tracked.status is not self._status:
            self._on_event(StatusChanged(seen.frame.stamp_ns, self._status, tracked.status))
            self._status = tracked.status
        self._on_event(
            FrameTracked(
                seen.index,
                seen.frame.stamp_ns,
                tracked.status,
                tracked.confidence,
                tracked.flip_corrected,
                seen.frame,
                seen.maps,
                tracked.state,
            )
        )
        self._say_warnings()
        self._recording.add(seen.index, seen.frame, seen.maps, tracked)
        if not seen.is_usable:
            return
        assert tracked.state is not None
        self._usable_frames += 1
        self._tracked.add(seen.frame.stamp_ns, tracked.state, seen.frame.camera)
        with self._times.measured("keyframe"):
            if self._trainer is None:
                config = self._config
                avatar = Avatar(self._body, tracked.state.betas, fields=config.fields, device=config.trainer.device)
                self._trainer = Trainer(avatar, self._config.trainer)
            # Clothes are started from the tracker's guess, but one that was learned before is better than the guess.
            starts = not self._resumed and not self._trainer.schedule.learns_geometry
            if tracked.inflation is not None and starts:
                self._trainer.avatar.set_surface_offset(torch.from_numpy(np.asarray(tracked.inflation, np.float32)))
            keyframe = self._trainer.add(seen.frame, seen.maps, tracked.state)
        if tracked.evidence is not None:
            self._second_look.add(tracked.evidence)
        if keyframe is not None and keyframe is self._trainer.newest:  # those held out are not learned from
            self._late_maps.saw(seen.frame, seen.maps, tracked.state)
            self._late_maps.attach(self._trainer, self._second_look)
        if self._second_look.due:
            self._look_again()
        self._say_switches()
        if self._source.live and self._tracked.too_many:
            self._tracked.forget_old(self._trainer.keyframe_stamps())

    def _look_again(self) -> None:
        """Poses of the past by what came after them, for the keyframes and for what is left at the end."""
        assert self._trainer is not None
        with self._times.measured("second look"):
            states = self._second_look.states(self._stop.is_set)
        self._trainer.restate(states)
        self._tracked.restate(states)

    def _look_at_the_rest(self) -> None:
        """Once the stream is over; whoever stops the session does not wait for it."""
        if self._second_look.behind and not self._stop.is_set():
            self._look_again()

    def _goes_on(self) -> bool:
        """Waits while the session is paused; False once it is stopped."""
        while not self._running.wait(PAUSE_CHECK_S) and not self._stop.is_set():
            pass
        return not self._stop.is_set()

    def _train(self, steps: int) -> None:
        for _ in range(steps):
            if not self._goes_on():
                return
            self._step()

    def _step(self) -> None:
        if self._trainer is None or self._trainer.newest is None:
            return
        self._late_maps.attach(self._trainer, self._second_look)
        start_s = self._clock_s()
        with self._times.measured("training step"):
            report = self._trainer.step()
        self._step_s = self._clock_s() - start_s
        self._put_aside()
        self._say_switches()
        if self._meter.stepped(report):
            self._report_progress()
        if self._save_beat.due():
            self._on_event(SnapshotTaken(self._snapshot()))

    def _put_aside(self) -> None:
        """Copies only, some milliseconds: what a checkpoint costs is taken from the run that is measured."""
        elapsed_s = self._meter.elapsed_s
        while len(self._checkpoints) < len(self._checkpoints_s) and elapsed_s >= self._checkpoints_s[len(self._checkpoints)]:
            assert self._trainer is not None
            states = self._trainer.final_states(self._tracked.by_stamp)
            self._checkpoints.append(Checkpoint(elapsed_s, self._snapshot(), states))

    def _end_stream(self, *, grow: bool) -> None:
        """No more is to come: whatever waits for evidence takes what there is."""
        if self._trainer is not None and self._trainer.newest is not None and not self._stop.is_set():
            self._trainer.schedule.stream_ended()
            if grow:
                self._capacity.stream_ended(self._trainer)
            self._say_switches()

    def _grow_if_worth_it(self, *, streaming: bool) -> None:
        assert self._trainer is not None
        self._capacity.stepped(self._trainer, streaming=streaming)
        self._say_switches()

    # -- what is said and left

    def _announce_source(self, camera: Camera) -> None:
        source, focal_px = self._source, float(camera.K[0, 0])
        self._announced = True
        self._on_event(SourceOpened(source.name, camera.width, camera.height, source.fps, source.length, focal_px,
                                    source.camera_is_estimated))  # fmt: skip

    def _say_warnings(self) -> None:
        for message in self._warnings.take():
            self._on_event(Warned(message))

    def _say_switches(self) -> None:
        assert self._trainer is not None
        for event in self._meter.switched(self._trainer):
            self._on_event(event)

    def _concluded(self, reason: str, fit_wall_s: float) -> SessionResult:
        """Last words, and what is left."""
        side_car = self._late_maps.close()
        self._say_warnings()
        if self._trainer is None or self._trainer.newest is None:
            self._on_event(Finished(reason))
            raise NobodyFound(
                f"{self._source.name}: {self._frames} frames looked at, a person to learn from in none ({reason})"
            )
        self._report_progress(last=True)
        snapshot = self._snapshot()
        self._on_event(SnapshotTaken(snapshot))
        self._on_event(Finished(reason))
        return self._result(snapshot, fit_wall_s, reason, side_car)

    def _rescue(self, reason: str) -> None:
        self._late_maps.close()
        self._say_warnings()
        if self._trainer is not None and self._trainer.newest is not None:
            self._on_event(SnapshotTaken(self._snapshot()))
        self._on_event(Finished(reason))

    def _report_progress(self, *, last: bool = False) -> None:
        assert self._trainer is not None
        self._warnings.skipped_steps(self._trainer.skipped_steps)
        self._on_event(self._meter.report(self._trainer, self._frames, self.frames_dropped, last=last))

    def _snapshot(self) -> AvatarSnapshot:
        assert self._trainer is not None
        return AvatarSnapshot.of(
            self._trainer.avatar,
            self._resumed_iterations + self._trainer.iterations,
            self._resumed_frames + self._usable_frames,
        )

    def _result(
        self, snapshot: AvatarSnapshot, fit_wall_s: float, reason: str, side_car: SideCarReport | None
    ) -> SessionResult:
        assert self._trainer is not None
        avatar = snapshot.avatar(self._body)
        complete(avatar)
        return SessionResult(
            avatar=avatar,
            snapshot=snapshot,
            states=self._trainer.final_states(self._tracked.by_stamp),
            recording=self._recording,
            progress=self._meter.progress,
            switches=self._meter.switches,
            timings_ms=self._times.medians(),
            frames=self._frames,
            frames_with_person=self._usable_frames,
            fit_wall_s=fit_wall_s,
            skipped_steps=self._trainer.skipped_steps,
            warnings=self._warnings.all,
            reason=reason,
            side_car=side_car,
            checkpoints=tuple(self._checkpoints),
        )
