"""What the user asks for, opened. Kinds: behaviour, refusal. MediaPipe and the engines stand aside."""

from pathlib import Path

import numpy as np
import pytest

from fmgs_core.priors import MapModel, Prior
from fmgs_core.priors import choice as choice_module
from fmgs_core.priors.choice import SapiensChoice, chosen_models, open_priors
from fmgs_core.priors.filled import FilledPrior
from fmgs_core.priors.mediapipe import MediaPipeConfig
from fmgs_core.priors.plugins import Plugin
from fmgs_core.priors.recorded import RecordedPrior
from fmgs_core.priors.recorder import Recipe, Recorder
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.priors.store import StoredModel
from fmgs_core.types import Frame, PriorMaps


class Every:
    def __init__(self, *_: object):
        self.closed = False

    def predict(self, frame: Frame) -> PriorMaps:
        return PriorMaps()

    def close(self) -> None:
        self.closed = True


class Slow:
    name = "slow"
    closed = False

    def maps(self, frame: Frame, person: tuple[int, int, int, int]) -> PriorMaps:
        return PriorMaps()

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """Two plugins, and the options that they were made with."""
    got: dict[str, dict] = {}
    made = {"every": Every, "slow": Slow}

    def load(name: str, options: dict) -> Plugin:
        got[name] = dict(options)
        return Plugin(made[name](), name, "toy 0.1")

    monkeypatch.setattr(choice_module, "MediaPipePrior", Detector)
    monkeypatch.setattr(choice_module, "plugin_names", lambda: list(made))
    monkeypatch.setattr(choice_module, "load_plugin", load)
    return got


class Detector(Every):
    """In MediaPipe's place."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Recorder(tmp_path / "maps", Recipe("clip", 1, {})).add(7, PriorMaps(mask=np.ones((4, 4), np.float32)))
    return tmp_path / "maps"


def opened(source: object, **other):
    return open_priors(str(source), mediapipe=MediaPipeConfig(), **other)


def test_auto_is_the_detector_alone():
    priors = opened("auto")
    assert isinstance(priors.prior, Detector) and priors.model is None


def test_a_folder_lies_over_the_detector_or_stands_alone(folder: Path):
    assert isinstance(opened(folder).prior, FilledPrior) and opened(folder).model is None
    assert isinstance(opened(folder, landmarks="maps").prior, RecordedPrior)


def test_a_plugin_for_every_frame_lies_over_the_detector(installed: dict[str, dict]):
    priors = opened("every", options={"a": "1"})
    assert isinstance(priors.prior, FilledPrior) and priors.model is None and installed == {"every": {"a": "1"}}
    assert type(opened("every", landmarks="maps").prior) is Every


def test_a_slow_plugin_stands_beside_the_detector_and_all_is_closed():
    priors = opened("slow")
    assert isinstance(priors.prior, Detector) and isinstance(priors.model, Slow)
    priors.close()
    assert priors.prior.closed and priors.model.closed
    assert isinstance(priors.model, MapModel) and not isinstance(priors.model, Prior)


@pytest.mark.parametrize(
    ("source", "other", "message"),
    [
        ("slwo", {}, r"expected auto, sapiens, a folder of recorded maps or a plugin \(every, slow\), got 'slwo'"),
        (
            "slow",
            {"landmarks": "maps"},
            "landmarks 'maps': expected recorded maps, or a plugin for every frame, got priors 'slow'",
        ),
        ("auto", {"landmarks": "maps"}, "landmarks 'maps': expected"),
        ("sapiens", {"options": {"a": "1"}}, "prior options: expected none with priors 'sapiens'"),
    ],
)
def test_what_does_not_go_together_is_refused(source: str, other: dict, message: str):
    with pytest.raises(ValueError, match=message):
        opened(source, **other)


# -- which of the stored models


def model(name: str, task: Task, architecture: str) -> StoredModel:
    shapes = (1024, 768), (512, 384)
    return StoredModel(name, Path("file"), "00", 1, 1, "sapiens", task, architecture, 3, *shapes, "none", True, Path("folder"))


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        folder = Path("store")

        def __init__(self, _: object): ...

        def list(self) -> list[StoredModel]:
            tasks = (Task.NORMAL, Task.SEG, Task.POSE)
            return [*(model(f"s-{t.value}", t, "0.3b") for t in tasks), model("l-normal", Task.NORMAL, "2b")]

    monkeypatch.setattr(choice_module, "ModelStore", Store)


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (SapiensChoice(architecture="0.3b"), ["s-normal", "s-seg"]),
        (SapiensChoice(architecture="2b"), ["l-normal"]),
        (SapiensChoice(tasks=("pose",)), ["s-pose"]),
        (SapiensChoice(tasks=("pose", "stored"), architecture="0.3b"), ["s-pose", "s-normal", "s-seg"]),
    ],
)
def test_stored_models_are_chosen_by_task_and_size(stored: None, choice: SapiensChoice, names: list[str]):
    assert [chosen.name for chosen in chosen_models(choice)] == names


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (SapiensChoice(), r"one stored model for normal, got s-normal \(0.3b\), l-normal \(2b\); name an architecture"),
        (SapiensChoice(tasks=("depth",)), "one stored model for depth, got none"),
        (SapiensChoice(architecture="1b"), "expected stored models, got none in store"),
    ],
)
def test_a_choice_that_names_none_or_two_is_refused(stored: None, choice: SapiensChoice, message: str):
    with pytest.raises(ValueError, match=message):
        chosen_models(choice)


@pytest.mark.parametrize("tasks", [(), ("norml",)])
def test_tasks_that_are_none_are_refused(tasks: tuple[str, ...]):
    with pytest.raises(ValueError, match=r"SapiensChoice\.tasks: expected some of stored, .*, got"):
        SapiensChoice(tasks=tasks)
