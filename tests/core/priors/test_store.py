"""The user's own model files. Kinds: round trip, behaviour on bad input, two processes at once."""

import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest
import torch

from fmgs_core.priors import store as store_module
from fmgs_core.priors.engines.engine import Engine
from fmgs_core.priors.manifest import default_folder, editing, manifest_path
from fmgs_core.priors.sapiens.architecture import TINY, spec_for
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task
from fmgs_core.priors.store import ModelStore, check_unchanged, exported_onnx, open_engine

HW = (64, 48)


def write_file(path: Path, task: Task = Task.NORMAL, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    torch.save({"state_dict": SapiensNetwork(spec_for(TINY, task, input_hw=HW)).state_dict()}, path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_file(tmp_path / "normal.pth")


def test_what_is_added_is_found_again(store: ModelStore, file: Path):
    added = store.add(file, accept_licence=True)
    assert store.list() == [added] and store.get("sapiens-tiny-normal") == added
    assert (added.path, added.bytes, added.family, added.task) == (file, file.stat().st_size, "sapiens", Task.NORMAL)
    assert (added.channels, added.input_hw, added.output_hw) == (3, HW, (32, 24))
    assert (added.licence, added.licence_accepted, added.onnx) == ("CC-BY-NC-4.0", True, None)
    assert ModelStore(store.folder).list() == [added] and store.add(file) == added, "again, and the licence only once"


def test_names_say_which_list_of_classes(store: ModelStore, tmp_path: Path):
    names = [store.add(write_file(tmp_path / t.value, t), accept_licence=True).name for t in (Task.SEG, Task.POSE)]
    assert names == ["sapiens-tiny-seg28", "sapiens-tiny-pose308"]
    assert [m.name for m in store.list()] == sorted(names)


def test_a_licence_that_nobody_accepted_keeps_a_file_out(store: ModelStore, file: Path):
    with pytest.raises(ValueError, match=r"CC-BY-NC-4\.0: .* not for commercial use.*--accept-licence"):
        store.add(file)
    assert store.list() == [] and not store.licence_accepted("sapiens")


def test_a_licence_that_was_withdrawn_stops_its_models(store: ModelStore, file: Path):
    store.add(file, accept_licence=True)
    with editing(store.folder) as manifest:
        manifest.licences = []
    with pytest.raises(ValueError, match="not for commercial use"):
        open_engine(store.get("sapiens-tiny-normal"), "torch")


@pytest.mark.parametrize("name", ["../evil", "", " ", "a b", ".hidden"])
def test_names_are_plain(store: ModelStore, file: Path, name: str):
    if name:
        with pytest.raises(ValueError, match="model name: expected letters"):
            store.add(file, name, accept_licence=True)
    else:
        assert store.add(file, name, accept_licence=True).name == "sapiens-tiny-normal"


def test_a_name_belongs_to_one_file(store: ModelStore, file: Path, tmp_path: Path):
    store.add(file, "mine", accept_licence=True)
    with pytest.raises(ValueError, match=r"'mine': expected a new one, got that of .*normal\.pth; --name another"):
        store.add(write_file(tmp_path / "other.pth", seed=1), "mine")


def test_another_task_is_refused_in_the_checkpoint_readers_words(store: ModelStore, file: Path):
    with pytest.raises(ValueError, match="expected a network for depth, got one for normal"):
        store.add(file, task=Task.DEPTH, accept_licence=True)


def test_an_unknown_name_says_the_known(store: ModelStore, file: Path):
    with pytest.raises(ValueError, match="none is stored"):
        store.get("x")
    store.add(file, "mine", accept_licence=True)
    with pytest.raises(ValueError, match="expected one of mine, got 'x'"):
        store.get("x")


def test_a_changed_file_is_refused_and_a_touched_one_is_not(store: ModelStore, file: Path):
    model = store.add(file, "mine", accept_licence=True)
    os.utime(file, ns=(1, 1))
    check_unchanged(model)
    write_file(file, seed=1)
    with pytest.raises(ValueError, match=f"has changed since it was added: expected sha256 {model.sha256[:16]}"):
        open_engine(model, "torch")
    os.utime(file, ns=(model.modified_ns, model.modified_ns))
    if file.stat().st_size == model.bytes:
        check_unchanged(model)  # a hurried look, as documented
    with pytest.raises(ValueError, match="has changed"):
        check_unchanged(model, thorough=True)
    file.unlink()
    with pytest.raises(ValueError, match=r"expected its file at .* got none"):
        check_unchanged(model)


def test_removing_forgets_and_leaves_the_users_file(store: ModelStore, file: Path):
    model = store.add(file, "mine", accept_licence=True)
    store.add(file, "twin")
    for made in (model.onnx_path, model.onnx_path.with_name(model.onnx_path.name + ".data")):
        made.write_bytes(b"x")
    store.remove("mine")
    assert model.onnx_path.exists(), "the twin has the same content"
    store.remove("twin")
    assert store.list() == [] and file.exists() and not list(store.folder.glob("*.onnx*"))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": "fmgs_models/9"}', '{"format": "fmgs_models/1", "extra": 1}', '{"models": {}}']
)
def test_a_broken_list_is_said_and_not_overwritten(store: ModelStore, file: Path, text: str):
    store.folder.mkdir()
    manifest_path(store.folder).write_text(text)
    with pytest.raises(ValueError, match=r"models\.json: expected"):
        store.list()
    with pytest.raises(ValueError, match=r"models\.json: expected"):
        store.add(file, accept_licence=True)
    assert manifest_path(store.folder).read_text() == text


def test_an_edit_that_fails_changes_nothing(store: ModelStore, file: Path):
    store.add(file, "mine", accept_licence=True)
    before = manifest_path(store.folder).read_bytes()
    with pytest.raises(RuntimeError), editing(store.folder) as manifest:
        manifest.models.clear()
        raise RuntimeError
    assert manifest_path(store.folder).read_bytes() == before


def _count_up(folder: Path, times: int) -> None:
    for _ in range(times):
        with editing(folder) as manifest:
            manifest.models["counter"] = {"n": manifest.models.get("counter", {"n": 0})["n"] + 1}


def test_two_processes_do_not_lose_each_others_edits(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count_up, args=(tmp_path, 40)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [w.exitcode for w in workers] == [0, 0, 0]
    assert json.loads(manifest_path(tmp_path).read_text())["models"]["counter"]["n"] == 120


def test_the_folder_is_the_environments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("FMGS_MODELS", raising=False)
    assert default_folder() == tmp_path / "fmgs" / "models"
    monkeypatch.setenv("FMGS_MODELS", str(tmp_path / "here"))
    assert ModelStore().folder == tmp_path / "here" and ModelStore().list() == []


def test_a_folder_that_is_not_sapiens2_is_refused(store: ModelStore, tmp_path: Path):
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match="licence of their own that forbids some uses"):
        store.add(tmp_path / "model")
    with pytest.raises((ValueError, ImportError), match=r"config\.json|transformers"):
        store.add(tmp_path / "model", accept_licence=True)


def test_engines_of_one_file_agree(store: ModelStore, file: Path):
    pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")
    pytest.importorskip("onnxscript", reason="pip install fmgs_ros[sapiens]")
    model, steps = store.add(file, accept_licence=True), []
    pixels = torch.randn(1, 3, *HW)
    direct = open_engine(model, "torch")
    converted = open_engine(model, "onnxruntime", on_progress=lambda *step: steps.append(step))
    assert isinstance(direct, Engine) and isinstance(converted, Engine)
    # float32 in another order, on outputs with a range of 5
    torch.testing.assert_close(direct.run(pixels), converted.run(pixels), atol=2e-5, rtol=0)
    assert model.onnx == model.onnx_path == exported_onnx(model) and ("exported", 1.0) in steps
    with pytest.raises(ValueError, match=r"float32 with onnxruntime, got 'onnxruntime' and torch\.bfloat16"):
        open_engine(model, "onnxruntime", dtype=torch.bfloat16)


def test_two_processes_export_once(store: ModelStore, file: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxscript", reason="pip install fmgs_ros[sapiens]")
    model, made = store.add(file, accept_licence=True), []
    true_export = store_module.export_onnx
    monkeypatch.setattr(store_module, "export_onnx", lambda *args: made.append(1) or true_export(*args))
    workers = [threading.Thread(target=exported_onnx, args=(model,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert made == [1] and model.onnx is not None
