"""`fmgs priors` and `fmgs run --priors` end to end, with networks of random weights. Kinds: behaviour, round trip through the
disk, refusal. What such networks say is noise; that it goes the whole way, and is doubted aloud, is what is tested."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fmgs_core.priors.recorded import RecordedPrior
from fmgs_core.priors.sapiens.architecture import TINY, spec_for
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.priors.store import ModelStore
from fmgs_core.stream.source import SourceConfig, open_source
from fmgs_core.types import Frame

from .conftest import Fmgs, figures
from .streams import Stage, write_folder

INPUT_HW = (128, 96)
FRAMES = 4
FEW = ("--config.gaussians", 0, "--config.final-iterations", 4, "--config.iterations-per-frame", 1)
TORCH = ("--sapiens.engine", "torch")


@pytest.fixture(scope="module")
def clip(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("clip"), (stage.person(4 * i) for i in range(FRAMES)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Normals and depth of random weights."""
    folder = tmp_path_factory.mktemp("models")
    for task in (Task.NORMAL, Task.DEPTH):
        torch.manual_seed(1)
        path = folder / f"{task.value}.pth"
        torch.save({"state_dict": SapiensNetwork(spec_for(TINY, task, input_hw=INPUT_HW)).state_dict()}, path)
        ModelStore(folder / "store").add(path, name=f"tiny-{task.value}", accept_licence=True)
    return folder / "store"


@pytest.fixture(autouse=True)
def own_store(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMGS_MODELS", str(store))


def frames_of(clip: Path) -> list[Frame]:
    with open_source(str(clip), SourceConfig()) as source:
        return [frame for _ in range(FRAMES) if (frame := source.read()) is not None]


def test_maps_are_made_gone_on_with_and_learned_from(fmgs: Fmgs, clip: Path, tmp_path: Path):
    out = tmp_path / "maps"
    make = ("priors", clip, "--model", "tiny-normal", "tiny-depth", "--out", out, *TORCH)
    code, said = fmgs(*make)
    assert code == 0 and f"{FRAMES} frames, " in said and "ms each" in said and f"a person in {FRAMES} of them" in said
    prior = RecordedPrior(out)
    for frame in frames_of(clip):
        maps = prior.predict(frame)
        assert maps.mask is not None and maps.keypoints is not None and maps.keypoints.layout == "mediapipe33"
        assert maps.labels is None and maps.normal is not None and maps.depth is not None
        person = maps.mask > 0.5
        assert np.isfinite(maps.depth[person]).all() and maps.normal.any()

    stamps = (out / "stamps_ns.txt").read_text().splitlines(keepends=True)
    (out / "stamps_ns.txt").write_text("".join(stamps[:2]))  # as if it had been killed after two frames
    newest = (out / "mask" / "000001.png").stat().st_mtime_ns
    code, said = fmgs(*make)
    assert code == 0 and "2 frames, " in said and f"{FRAMES} frames are there" in said
    assert (out / "stamps_ns.txt").read_text() == "".join(stamps)
    assert (out / "mask" / "000001.png").stat().st_mtime_ns == newest
    code, said = fmgs(*make)
    assert code == 0 and f"0 frames, a person in 0 of them; {FRAMES} frames are there" in said

    code, said = fmgs("run", clip, "--out", tmp_path / "a", "--priors", out, *FEW)
    assert code == 0, said
    assert figures(tmp_path / "a")["keyframes"] == FRAMES
    code, said = fmgs("run", clip, "--out", tmp_path / "b", "--priors", out, "--landmarks", "maps", *FEW)
    assert code == 0 and figures(tmp_path / "b")["frames_with_person"] == FRAMES


def test_stored_models_look_at_keyframes_beside_the_stream(fmgs: Fmgs, clip: Path, tmp_path: Path):
    code, said = fmgs("run", clip, "--out", tmp_path, "--priors", "sapiens", *TORCH, *FEW)
    assert code == 0, said
    found = figures(tmp_path)
    assert found["maps_made"] == found["keyframes"] == FRAMES and found["maps_failed"] == 0 and found["maps_checked"] == 3
    assert "normal+depth" in str(found["maps_model"]) and float(found["maps_ms"]) > 0
    assert "from the body's, signs of x, y, z" in said and "warning: sapiens normal+depth" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "tiny-seg"), "expected one of tiny-depth, tiny-normal, got 'tiny-seg'"),
        (("--model", "tiny-normal", "tiny-normal"), "each of another task, got tiny-normal"),
        (("--model", "tiny-normal", "--every", 0), "every: expected at least 1, got 0"),
        (("--model", "tiny-normal", "--prior-options", "a=1"), "--prior-options: expected none, they are for plugins, got a=1"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    fmgs: Fmgs, clip: Path, tmp_path: Path, arguments: tuple, message: str
):
    code, said = fmgs("priors", clip, "--out", tmp_path / "maps", *TORCH, *arguments)
    assert code == 1 and message in said and not (tmp_path / "maps").exists()


def test_another_model_in_the_same_folder_is_refused(fmgs: Fmgs, clip: Path, tmp_path: Path):
    assert fmgs("priors", clip, "--model", "tiny-normal", "--out", tmp_path, *TORCH)[0] == 0
    code, said = fmgs("priors", clip, "--model", "tiny-depth", "--out", tmp_path, *TORCH)
    assert code == 1 and "models tiny-normal (" in said and "give another folder" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--priors", "sapien"),
            "expected auto, sapiens, a folder of recorded maps or a plugin (none is installed), got 'sapien'",
        ),
        (("--priors", "sapiens", "--sapiens.tasks", "seg"), "expected one stored model for seg, got none"),
        (("--priors", "sapiens", "--sapiens.architecture", "2b"), "expected stored models, got none in"),
        (("--priors", "sapiens", "--landmarks", "maps"), "landmarks 'maps': expected recorded maps, or a plugin"),
        (("--prior-options", "a=1"), "prior options: expected none with priors 'auto'"),
    ],
)
def test_priors_that_do_not_exist_are_refused(fmgs: Fmgs, clip: Path, tmp_path: Path, arguments: tuple, message: str):
    code, said = fmgs("run", clip, "--out", tmp_path, *arguments)
    assert code == 1 and message in said
