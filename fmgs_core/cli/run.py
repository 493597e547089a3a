"""`fmgs run` and `fmgs demo`: fit an avatar to a stream and write what was learned."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from fmgs_core.avatar.snapshot import load_avatar
from fmgs_core.cli.autosave import Autosave, check_folder_can_be_written
from fmgs_core.cli.body_choice import BodyChoice
from fmgs_core.cli.display import Display
from fmgs_core.cli.results import Written, write_results
from fmgs_core.config import OFFLINE_PRESETS, Pace, SessionConfig
from fmgs_core.priors.choice import OpenPriors, SapiensChoice, open_priors
from fmgs_core.priors.plugins import parsed_options
from fmgs_core.session import Session, SessionResult
from fmgs_core.session.events import Event, Preparing, SnapshotTaken
from fmgs_core.session.warmup import warm_up
from fmgs_core.stream.source import open_source
from fmgs_core.tracking.tracker import BodyTracker

SAMPLE = Path("samples/dressed_a")


@dataclass(frozen=True)
class Run:
    """Fit an avatar online to a camera, video, image folder, bag or sequence, and write what it learned."""

    source: Annotated[str, tyro.conf.Positional]
    """Camera index, video file, URL, image folder, mcap or sqlite3 bag, or avatar_gt/1 sequence folder."""
    out: Path = Path("out")
    """Folder for avatar.safetensors, turntable.mp4, overlay.mp4, masks.mp4, schedule.svg, report.html and report.json."""
    pace: Literal["auto", "live", "all"] = "auto"
    """live: as it comes, for --config.budget-s seconds. all: every frame, repeatable bit for bit. auto: live for cameras."""
    preset: Literal["cpu", "gpu", "paper"] = "cpu"
    """Where --config starts from. paper: the published offline schedule, 15,000 steps after the last frame of a recording."""
    resume: Path | None = None
    """Go on from this avatar file."""
    height_m: float | None = None
    """The person's height [m]; without it, height and distance are known only up to one common factor."""
    priors: str = "auto"
    """auto: MediaPipe's mask and landmarks, and maps of the body itself. sapiens: the stored models (`fmgs models`) beside it,
    for normals, depth and labels of keyframes. A folder that `fmgs priors` has made, or the name of an installed plugin."""
    landmarks: Literal["mediapipe", "maps"] = "mediapipe"
    """maps: mask and landmarks of --priors alone, a folder or a plugin; MediaPipe does not run."""
    prior_options: tuple[str, ...] = ()
    """key=value of a plugin."""
    sapiens: SapiensChoice = field(default_factory=SapiensChoice)
    body: tyro.conf.OmitArgPrefixes[BodyChoice] = field(default_factory=BodyChoice)
    config: SessionConfig = field(default_factory=SessionConfig)

    def run(self) -> int:
        check_folder_can_be_written(self.out)
        console = Console(stderr=True)
        with Display(console) as display:
            result, name = self._fit(display)
            try:
                written = write_results(self.out, result, self.config, name, display.writing)
            except KeyboardInterrupt:
                console.print(f"interrupted; the avatar is in {escape(str(self.out))}", highlight=False, soft_wrap=True)
                raise
        _print_written(written)
        return 0

    def _fit(self, display: Display) -> tuple[SessionResult, str]:
        body, config = self.body.load(), self._config()
        resume = None if self.resume is None else load_avatar(self.resume)
        if resume is not None:
            resume.avatar(body)  # says now what does not fit, before a camera is opened
        with contextlib.ExitStack() as stack:
            warnings = _Relay()
            autosave = Autosave(self.out / "avatar.safetensors", self.resume, warnings)

            def on_event(event: Event) -> None:
                display(event)
                if isinstance(event, SnapshotTaken):
                    autosave(event.snapshot)

            source = stack.enter_context(open_source(self.source, config.source, on_warning=warnings))
            if self.preset in OFFLINE_PRESETS and (source.live or self.pace == "live"):
                raise ValueError(f"--preset {self.preset}: expected a recording at pace all, got {source.name} live")
            priors = self._opened_priors(on_event)
            stack.callback(priors.close)
            warm_up(body, config, on_event)
            stop = stack.enter_context(_stop_on_interrupt())
            tracker = BodyTracker(body, config.tracker)
            session = Session(
                source, priors.prior, tracker, body, config, on_event, model=priors.model, resume=resume, stop=stop
            )
            warnings.attach(session.warn)
            live = self.pace == "live" or (self.pace == "auto" and source.live)
            return session.run(Pace.LIVE if live else Pace.ALL), source.name

    def _opened_priors(self, on_event: Callable[[Event], None]) -> OpenPriors:
        return open_priors(
            self.priors,
            mediapipe=self.config.mediapipe,
            landmarks=self.landmarks,
            options=parsed_options(self.prior_options),
            sapiens=self.sapiens,
            on_progress=lambda what, share: on_event(Preparing(f"{what}: {share:.0%}")),
        )

    def _config(self) -> SessionConfig:
        if self.height_m is None:
            return self.config
        return replace(self.config, tracker=replace(self.config.tracker, subject_height_m=self.height_m))


@dataclass(frozen=True)
class Demo:
    """Fit the sample bag that comes with the project, and show where the pictures are."""

    out: Path = Path("out/demo")
    """Folder for the results."""
    sample: Path = SAMPLE
    """The bag; relative to the project's folder."""

    def run(self) -> int:
        return Run(str(self.sample), self.out).run()


class _Relay:
    """Keeps what a source warns of while it opens, until there is a session to tell."""

    def __init__(self):
        self._early: list[str] = []
        self._target: Callable[[str], None] | None = None

    def __call__(self, message: str) -> None:
        (self._target or self._early.append)(message)

    def attach(self, target: Callable[[str], None]) -> None:
        self._target = target
        for message in self._early:
            target(message)


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C or SIGTERM asks for a clean end, the second one ends at once."""
    stop = threading.Event()

    def handle(signum: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        # Straight to the descriptor: a handler may interrupt a print, and printing is not reentrant.
        os.write(2, b"\nstopping; once more ends at once\n")

    previous = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _print_written(written: Written) -> None:
    for name, value in written.figures.items():
        print(f"  {name:24} {value}")
    for path in (written.avatar, written.turntable, written.overlay, written.masks, written.schedule, written.report):
        print(f"  {path}")
