"""`fmgs priors`: maps of a whole recording by models that are too slow for a stream, once and for all."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fmgs_core.priors import MapModel, Prior
from fmgs_core.priors.choice import EngineChoice, sapiens_model
from fmgs_core.priors.mediapipe import MediaPipeConfig, MediaPipePrior
from fmgs_core.priors.person import box_of
from fmgs_core.priors.plugins import load_plugin, parsed_options, plugin_names
from fmgs_core.priors.recorder import Recipe, Recorder
from fmgs_core.priors.store import ModelStore
from fmgs_core.stream.source import FrameSource, SourceConfig, open_source
from fmgs_core.types import Frame, PriorMaps


@dataclass(frozen=True)
class Priors:
    """Look at a recording with slow models once, and keep their maps in a folder for `fmgs run SOURCE --priors FOLDER`. A run
    that was broken off goes on where it was."""

    source: Annotated[str, tyro.conf.Positional]
    """Video file, image folder, mcap or sqlite3 bag, or avatar_gt/1 sequence folder."""
    model: tuple[str, ...]
    """Stored models (`fmgs models list`) of different tasks; or one installed plugin."""
    out: Path
    """Folder for mask, normal, depth, label, keypoints, stamps_ns.txt and meta.json; empty or of the same run."""
    every: int = 1
    """Look at every n-th frame only."""
    prior_options: tuple[str, ...] = ()
    """key=value of a plugin."""
    sapiens: EngineChoice = field(default_factory=EngineChoice)
    mediapipe: MediaPipeConfig = field(default_factory=MediaPipeConfig)
    """Finds the person, whose box the models look at."""
    config: SourceConfig = field(default_factory=SourceConfig)

    def run(self) -> int:
        console = Console(stderr=True)
        with ExitStack() as stack:
            source = stack.enter_context(open_source(self.source, self.config, on_warning=console.print))
            if source.live:
                raise ValueError(f"fmgs priors: expected a recording, got {source.name}, which is live")
            model, pinned = self._opened(console)
            stack.callback(model.close)
            recorder = Recorder(self.out, Recipe(source.name, self.every, pinned))
            detector = MediaPipePrior(self.mediapipe)
            stack.callback(detector.close)
            progress = stack.enter_context(_progress(console))
            print(_record(source, model, detector, recorder, self.every, progress))
        return 0

    def _opened(self, console: Console) -> tuple[Prior | MapModel, dict[str, str]]:
        """A model, and by name what pins down its parts."""
        if len(self.model) == 1 and self.model[0] in plugin_names():
            plugin = load_plugin(self.model[0], parsed_options(self.prior_options))
            return plugin.made, {plugin.name: " ".join([plugin.package, *self.prior_options])}
        if self.prior_options:
            raise ValueError(f"--prior-options: expected none, they are for plugins, got {' '.join(self.prior_options)}")
        models = [ModelStore(self.sapiens.store).get(name) for name in self.model]
        with console.status("opening the models") as status:
            opened = sapiens_model(models, self.sapiens, lambda what, share: status.update(f"{what}: {share:.0%}"))
        return opened, {m.name: m.sha256 for m in models}


def _record(
    source: FrameSource, model: Prior | MapModel, detector: Prior, recorder: Recorder, every: int, progress: Progress
) -> str:
    """Every n-th frame of the source that is not there yet; what was done, in words."""
    total = None if source.length is None else -(-source.length // every)
    bar = progress.add_task(source.name, total=total)
    seen, made, people, busy_s = 0, 0, 0, 0.0
    while (frame := source.read()) is not None:
        index, due = seen // every, seen % every == 0
        seen += 1
        if not due:
            continue
        if not recorder.has(index, frame.stamp_ns):
            start_s = time.perf_counter()
            maps = looked_at(frame, model, detector)
            recorder.add(frame.stamp_ns, maps)
            busy_s, made, people = busy_s + time.perf_counter() - start_s, made + 1, people + (maps.mask is not None)
        progress.update(bar, completed=index + 1)
    if not recorder.stamps_ns:
        raise ValueError(f"{source.name}: expected frames, got none")
    each = f", {1e3 * busy_s / made:.0f} ms each" if made else ""
    return f"{made} frames{each}, a person in {people} of them; {len(recorder.stamps_ns)} frames are there"


def looked_at(frame: Frame, model: Prior | MapModel, detector: Prior) -> PriorMaps:
    """The model's maps; mask and landmarks are the detector's where the model has none. Nothing where nobody is."""
    found = detector.predict(frame)
    person = box_of(found)
    if person is None:
        return PriorMaps()
    maps = model.maps(frame, person) if isinstance(model, MapModel) else model.predict(frame)
    return PriorMaps(
        mask=found.mask if maps.mask is None else maps.mask,
        keypoints=found.keypoints if maps.keypoints is None else maps.keypoints,
        normal=maps.normal,
        depth=maps.depth,
        labels=maps.labels,
        label_set=maps.label_set,
    )


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console)
