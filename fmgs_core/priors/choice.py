"""From what the user asked for to a prior for every frame and, it may be, a slow model beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from fmgs_core.priors import MapModel, Prior
from fmgs_core.priors.engines.engine import OnProgress, silent
from fmgs_core.priors.filled import FilledPrior
from fmgs_core.priors.mediapipe import MediaPipeConfig, MediaPipePrior
from fmgs_core.priors.plugins import load_plugin, plugin_names
from fmgs_core.priors.recorded import RecordedPrior
from fmgs_core.priors.sapiens.model import SapiensConfig, SapiensModel
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.priors.store import EngineKind, ModelStore, StoredModel, open_engine

NAMES = ("auto", "sapiens")
"""Of priors that come with fmgs; a folder of one of these names is ./auto."""
STORED = "stored"
_TASKS = (STORED, *(task.value for task in Task))


@dataclass(frozen=True)
class EngineChoice:
    """What computes the stored models of Sapiens."""

    engine: EngineKind = "onnxruntime"
    """onnxruntime and tensorrt make their files first where there are none, which takes minutes, once."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    dtype: Literal["", "float32", "bfloat16", "float16"] = ""
    """What the engine computes in; empty: float32, and bfloat16 for TensorRT."""
    store: Path | None = None
    """Folder of the models; by default that of `fmgs models`."""
    model: SapiensConfig = field(default_factory=SapiensConfig)


@dataclass(frozen=True)
class SapiensChoice(EngineChoice):
    """Which of the stored models of Sapiens look at the person, and what computes them."""

    tasks: tuple[str, ...] = (STORED,)
    """Of normal, depth, seg and pose. stored: normal, depth and seg, those that there are."""
    architecture: str = ""
    """Such as 0.3b; needed where models of several sizes are stored for one task."""

    def __post_init__(self):
        if not self.tasks or any(task not in _TASKS for task in self.tasks):
            raise ValueError(
                f"SapiensChoice.tasks: expected some of {', '.join(_TASKS)}, got {', '.join(self.tasks) or 'none'}"
            )


@dataclass(frozen=True)
class OpenPriors:
    """What was opened, until `close`."""

    prior: Prior
    """Looks at every frame."""
    model: MapModel | None
    """Looks at keyframes beside the stream."""

    def close(self) -> None:
        self.prior.close()
        if self.model is not None:
            self.model.close()


def open_priors(
    source: str,
    *,
    mediapipe: MediaPipeConfig,
    landmarks: Literal["mediapipe", "maps"] = "mediapipe",
    options: Mapping[str, str] | None = None,
    sapiens: SapiensChoice | None = None,
    on_progress: OnProgress = silent,
) -> OpenPriors:
    """
    Args:
        source: "auto", MediaPipe alone; "sapiens", the stored models beside it; a folder of recorded maps, over MediaPipe's; or
            the name of a plugin.
        landmarks: "maps" takes mask and landmarks of a folder or of a plugin alone, without MediaPipe.
        options: of a plugin.

    Raises:
        ValueError: none of these, or what they say.
    """
    if options and (source in NAMES or _is_folder(source)):
        raise ValueError(f"prior options: expected none with priors {source!r}, they are for plugins, got {dict(options)}")
    if landmarks == "maps":
        return OpenPriors(_alone(source, options or {}), None)
    maps = _opened(source, options or {}, sapiens or SapiensChoice(), on_progress)
    detector = MediaPipePrior(mediapipe)
    if isinstance(maps, Prior):
        return OpenPriors(FilledPrior(detector, maps), None)
    return OpenPriors(detector, maps)


def sapiens_model(models: list[StoredModel], choice: EngineChoice, on_progress: OnProgress = silent) -> SapiensModel:
    """One model out of stored ones of different tasks."""
    families = {model.family for model in models}
    if len(families) != 1 or len({model.task for model in models}) != len(models):
        got = ", ".join(f"{m.name} ({m.family}, {m.task.value})" for m in models) or "none"
        raise ValueError(f"models: expected at least one, of one family and each of another task, got {got}")
    engines = {}
    try:
        for model in models:
            dtype = getattr(torch, choice.dtype) if choice.dtype else None
            engines[model.task] = open_engine(model, choice.engine, choice.device, dtype=dtype, on_progress=on_progress)
        return SapiensModel(engines, choice.model, families.pop())
    except BaseException:
        for engine in engines.values():
            engine.close()
        raise


def chosen_models(choice: SapiensChoice) -> list[StoredModel]:
    """The stored model of each task.

    Raises:
        ValueError: none for a task, or more than one.
    """
    store = ModelStore(choice.store)
    fitting = [m for m in store.list() if m.architecture == (choice.architecture or m.architecture)]
    wanted = [Task(task) for task in choice.tasks if task != STORED]
    if STORED in choice.tasks:
        wanted += [t for t in (Task.NORMAL, Task.DEPTH, Task.SEG) if any(m.task is t for m in fitting) and t not in wanted]
    if not wanted:
        raise ValueError(f"priors 'sapiens': expected stored models, got none in {store.folder} (`fmgs models add FILE`)")
    return [_only(task, [m for m in fitting if m.task is task]) for task in wanted]


def _only(task: Task, found: list[StoredModel]) -> StoredModel:
    if len(found) != 1:
        names = ", ".join(f"{m.name} ({m.architecture})" for m in found) or "none"
        raise ValueError(f"priors 'sapiens': expected one stored model for {task.value}, got {names}; name an architecture")
    return found[0]


def _alone(source: str, options: Mapping[str, str]) -> Prior:
    """Recorded maps, or a plugin for every frame."""
    maps = None if source in NAMES else _opened(source, options, SapiensChoice(), silent)
    if not isinstance(maps, Prior):
        raise ValueError(f"landmarks 'maps': expected recorded maps, or a plugin for every frame, got priors {source!r}")
    return maps


def _opened(
    source: str, options: Mapping[str, str], sapiens: SapiensChoice, on_progress: OnProgress
) -> Prior | MapModel | None:
    if source == "auto":
        return None
    if source == "sapiens":
        return sapiens_model(chosen_models(sapiens), sapiens, on_progress)
    if _is_folder(source):
        return RecordedPrior(Path(source).expanduser())
    if source in plugin_names():
        return load_plugin(source, options).made
    plugins = ", ".join(plugin_names()) or "none is installed"
    raise ValueError(f"priors: expected auto, sapiens, a folder of recorded maps or a plugin ({plugins}), got {source!r}")


def _is_folder(source: str) -> bool:
    return source not in NAMES and Path(source).expanduser().is_dir()
