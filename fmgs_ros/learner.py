"""Online fits one after another in one thread, and what is known of the one under way. No ROS needed."""

import math
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from fmgs_core.avatar.snapshot import AvatarSnapshot
from fmgs_core.body.template import BodyModel
from fmgs_core.config import Pace, SessionConfig
from fmgs_core.priors import MapModel, Prior
from fmgs_core.session import NobodyFound, Session
from fmgs_core.session.events import Event, FrameTracked, MapsChecked, Progress, SnapshotTaken, StatusChanged, Warned
from fmgs_core.stream.source import FrameSource
from fmgs_core.tracking.tracker import BodyTracker, TrackedBody
from fmgs_core.types import Frame, PriorMaps

MAX_RETRY_S = 30.0


class State(IntEnum):
    """As the constants of TrainingStatus.msg."""

    WAITING = 0
    TRAINING = 1
    PAUSED = 2
    FINISHED = 3
    FAILED = 4


@dataclass(frozen=True)
class FitStatus:
    """How the training is getting on."""

    state: State
    message: str
    """One sentence for people."""
    stamp_ns: int = 0
    """Of the last picture looked at."""
    iterations: int = 0
    """Since the avatar began, those of a loaded one included."""
    iterations_per_s: float = 0.0
    frames: int = 0
    frames_dropped: int = 0
    keyframes: int = 0
    gaussians: int = 0
    loss: float = math.nan
    psnr_db: float | None = None


@dataclass(frozen=True, eq=False)
class Listeners:
    """Who is told what, from the learner's threads: they must not block, and what they raise ends the fit."""

    tracked: Callable[[Frame, PriorMaps, TrackedBody], None] = lambda frame, maps, tracked: None
    """As soon as the tracker is done, before the training takes it in."""
    began: Callable[[], None] = lambda: None
    """Another avatar from here on: after a reset or a load."""
    snapshot: Callable[[AvatarSnapshot], None] = lambda snapshot: None
    warned: Callable[[str], None] = lambda message: None
    failed: Callable[[str, BaseException], None] = lambda what, error: None
    mended: Callable[[], None] = lambda: None
    """After a failure, pictures are looked at again."""
    told: Callable[[str], None] = lambda message: None
    """What is worth a line in the log, and no warning."""


@dataclass(frozen=True)
class _Order:
    """A fit to run. `anew`: the avatar is another one than before, nothing or a loaded one."""

    number: int
    resume: AvatarSnapshot | None
    anew: bool


class Learner:
    """Runs sessions on a source that it does not own. A session that ends is kept as it is until the next `begin`; so is one
    that breaks at pace ALL. At pace LIVE that one is gone on from after a while, over and over: cameras and networks fail for
    moments, and nobody is there to reset it. What was learned can be saved all the while.

    Args:
        config: its kernels are warm (fmgs_core.session.warmup), or the first pictures are lost.
        prior: looked at by one session at a time, and not closed here.
        pace: ALL reads every frame and ends with the source; LIVE takes the newest.
        model: looks at keyframes beside the session; not closed here either.
        retry_s: pause after a failure; twice as long after each further one, up to MAX_RETRY_S.
    """

    def __init__(
        self,
        source: FrameSource,
        prior: Prior,
        body: BodyModel,
        config: SessionConfig,
        listeners: Listeners,
        pace: Pace = Pace.LIVE,
        retry_s: float = 2.0,
        *,
        model: MapModel | None = None,
    ):
        self._model = model
        self._source, self._prior, self._body, self._config, self._pace = source, prior, body, config, pace
        self._listeners = listeners
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._lock, self._number = threading.Lock(), 0
        self._stop = threading.Event()
        self._session: Session | None = None
        self._paused = False
        self._retry_s, self._failures, self._is_broken = retry_s, 0, False
        self._state, self._message = State.WAITING, "starting"
        self.snapshot: AvatarSnapshot | None = None
        """The newest of the avatar, and None while there is nothing to show."""
        self._forget()

    # -- from any thread

    def begin(self, resume: AvatarSnapshot | None = None, *, anew: bool = True) -> None:
        """Ends the fit under way and begins one from this avatar, or from nothing."""
        with self._lock:
            self._number += 1
            self.snapshot = resume
            self._orders.put(_Order(self._number, resume, anew))
        self._stop.set()

    def pause(self) -> None:
        self._paused = True
        if self._session is not None:
            self._session.pause()

    def go_on(self) -> None:
        self._paused = False
        if self._session is not None:
            self._session.resume()

    def close(self) -> None:
        """Ends the fit under way and `run`; its avatar stays in `snapshot`."""
        self._orders.put(None)
        self._stop.set()

    @property
    def status(self) -> FitStatus:
        progress, tracked, session = self._progress, self._tracked, self._session
        state = State.PAUSED if self._paused and self._state in (State.WAITING, State.TRAINING) else self._state
        return FitStatus(
            state,
            "paused" if state is State.PAUSED else self._message,
            stamp_ns=tracked.stamp_ns if tracked else 0,
            iterations=self._resumed_iterations + (progress.iterations if progress else 0),
            iterations_per_s=progress.iterations_per_s if progress and state is State.TRAINING else 0.0,
            frames=tracked.index + 1 if tracked else 0,
            frames_dropped=session.frames_dropped if session else self._source.dropped,
            keyframes=progress.keyframes if progress else 0,
            gaussians=len(self.snapshot.tensors["observed"]) if self.snapshot else 0,
            loss=progress.loss if progress else math.nan,
            psnr_db=progress.psnr_db if progress else None,
        )

    def timings_ms(self) -> dict[str, float]:
        """Median wall milliseconds by stage of the present or last fit."""
        return self._session.timings_ms() if self._session else {}

    # -- the thread

    def run(self) -> None:
        """Blocks until `close`."""
        while self.run_next():
            pass

    def run_next(self) -> bool:
        """Waits for a `begin`, or until a fit that broke is tried again, and blocks until that fit is over; False after
        `close`."""
        order = self._next_order()
        if order is None:
            return False
        # A new flag for each fit: whoever sets it has given an order before, so either that is seen here or the flag is.
        self._stop = threading.Event()
        if self._orders.empty():
            self._fit(order)
        return True

    def _next_order(self) -> _Order | None:
        try:
            return self._orders.get(timeout=self._pause_s)
        except queue.Empty:
            with self._lock:
                return _Order(self._number, self.snapshot, anew=False)

    @property
    def _pause_s(self) -> float | None:
        """Until a fit that broke is tried again; None when there is nothing to try."""
        if self._state is not State.FAILED or self._pace is not Pace.LIVE:
            return None
        return min(self._retry_s * 2 ** (self._failures - 1), MAX_RETRY_S)

    def _fit(self, order: _Order) -> None:
        self._forget()
        self._resumed_iterations = order.resume.iterations if order.resume else 0
        self._state = State.WAITING
        if order.anew:
            self._listeners.began()
        try:
            if order.resume is not None:
                self._listeners.snapshot(order.resume)
            reason = self._made(order).run(self._pace).reason
        except NobodyFound as error:
            reason = str(error)
        except Exception as error:
            self._fail(error)
            return
        self._state, self._message = State.FINISHED, reason

    def _made(self, order: _Order) -> Session:
        session = Session(
            self._source,
            self._prior,
            _Told(BodyTracker(self._body, self._config.tracker), self._listeners.tracked),
            self._body,
            self._config,
            lambda event: self._hear(event, order.number),
            model=self._model,
            resume=order.resume,
            stop=self._stop,
        )
        self._session, self._message = session, "waiting for pictures"
        if self._paused:
            session.pause()
        return session

    def _forget(self) -> None:
        self._progress: Progress | None = None
        self._tracked: FrameTracked | None = None
        self._resumed_iterations = 0

    def _fail(self, error: Exception) -> None:
        self._failures, self._is_broken = self._failures + 1, True
        self._state, self._message = State.FAILED, " ".join(f"{type(error).__name__}: {error}".split())
        self._listeners.failed("the training broke", error)

    def _hear(self, event: Event, number: int) -> None:
        match event:
            case FrameTracked():
                self._tracked = event
                if self._is_broken:
                    self._is_broken = False
                    self._listeners.mended()
            case Progress():
                self._progress, self._state, self._failures = event, State.TRAINING, 0
            case SnapshotTaken(snapshot):
                self._keep(snapshot, number)
            case StatusChanged(after=after):
                self._message = f"person: {after.value}"
            case MapsChecked():
                self._listeners.told(str(event))
            case Warned(message):
                self._listeners.warned(message)

    def _keep(self, snapshot: AvatarSnapshot, number: int) -> None:
        """The last one of a fit that `begin` ended is of an avatar that nobody wants any more."""
        with self._lock:
            if number != self._number:
                return
            self.snapshot = snapshot
        self._listeners.snapshot(snapshot)


class _Told:
    """The tracker, with a listener: a session's own events wait for the training step under way."""

    def __init__(self, tracker: BodyTracker, tell: Callable[[Frame, PriorMaps, TrackedBody], None]):
        self._tracker, self._tell = tracker, tell

    def update(self, frame: Frame, maps: PriorMaps) -> TrackedBody:
        tracked = self._tracker.update(frame, maps)
        self._tell(frame, maps, tracked)
        return tracked
