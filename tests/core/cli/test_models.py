"""`fmgs models` from an empty store to a checked network. Kind: behaviour of the command."""

import json
import sys
from pathlib import Path

import pytest
import torch

from fmgs_core.cli import models
from fmgs_core.priors.engines import onnxruntime_engine

from ..priors.test_store import write_file
from .conftest import Fmgs


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    assert torch.get_num_threads() == threads
    monkeypatch.setenv("FMGS_MODELS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_file(tmp_path / "normal.pth")


def test_with_nothing_stored_it_says_how_to_get_going(fmgs: Fmgs, folder: Path):
    code, said = fmgs("models", "list")
    assert code == 0 and f"No models are stored in {folder}" in said
    assert all(words in said for words in ("downloads none", "facebook/sapiens", "fmgs models add FILE"))
    assert not folder.exists(), "looking leaves no trace"


def test_from_a_file_to_a_checked_network(fmgs: Fmgs, file: Path, folder: Path, tmp_path: Path):
    pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")
    code, said = fmgs("models", "add", file, "--name", "mine", "--accept-licence")
    assert code == 0 and "mine: sapiens tiny, normal, sha256" in said
    code, said = fmgs("models", "export", "mine")
    assert code == 0 and "opset 18" in said and "against torch: max" in said
    code, said = fmgs("models", "check", "mine", "--json", tmp_path / "check.json")
    assert code == 0 and "onnxruntime cpu float32" in said and "ok" in said
    found = json.loads((tmp_path / "check.json").read_text())
    reference, *others = found["engines"]
    assert reference["engine"] == "torch cpu float32" and reference["parity"] is None and reference["run_ms"] > 0
    assert others[0]["parity"]["figures"]["mean_deg"] < 0.01 and others[0]["complaints"] == []
    code, said = fmgs("models", "list")
    assert code == 0 and all(words in said for words in ("mine", "normal", "tiny", "CC-BY-NC-4.0", "yes", str(folder)))
    assert fmgs("models", "remove", "mine")[0] == 0 and "No models" in fmgs("models", "list")[1]


def test_an_engine_that_disagrees_fails_the_check(fmgs: Fmgs, file: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")
    fmgs("models", "add", file, "--name", "mine", "--accept-licence")
    fmgs("models", "export", "mine")
    true_run = onnxruntime_engine.OnnxRuntimeEngine.run
    monkeypatch.setattr(onnxruntime_engine.OnnxRuntimeEngine, "run", lambda self, pixels: true_run(self, pixels).flip(1))
    code, said = fmgs("models", "check", "mine")
    assert code == 1 and "onnxruntime cpu float32 disagrees or fails" in said and "degrees (expected at most 2" in said


def test_building_without_a_gpu_says_what_is_missing(fmgs: Fmgs, file: Path):
    pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    fmgs("models", "add", file, "--name", "mine", "--accept-licence")
    code, said = fmgs("models", "build", "mine", "--batch", 0)
    assert code == 1 and "--batch: expected 1 to 64, got 0" in said
    code, said = fmgs("models", "build", "mine")
    assert code == 1 and "expected cpu or one of the 0 GPUs that torch sees, got 'cuda'" in said and "Traceback" not in said


def test_a_changed_file_fails_the_check(fmgs: Fmgs, file: Path):
    fmgs("models", "add", file, "--name", "mine", "--accept-licence")
    write_file(file, seed=1)
    code, said = fmgs("models", "check", "mine")
    assert code == 1 and "has changed since it was added" in said and "Traceback" not in said


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("", 1), ("no", 1), (None, 1)])
def test_the_licence_is_asked_for_at_a_terminal_only(
    fmgs: Fmgs, file: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None, code: int
):
    questions: list[str] = []

    def ask(question: str) -> str:
        questions.append(question)
        return answer or ""

    monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None)
    monkeypatch.setattr(models, "input", ask, raising=False)
    found, said = fmgs("models", "add", file)
    assert found == code and len(questions) == (answer is not None)
    assert code == 0 or ("not for commercial use" in said and "--accept-licence" in said)
    assert all("CC-BY-NC-4.0" in q for q in questions)


def test_a_file_that_is_no_checkpoint_is_one_sentence(fmgs: Fmgs, tmp_path: Path):
    (tmp_path / "page.pth").write_text("<html>log in</html>")
    code, said = fmgs("models", "add", tmp_path / "page.pth", "--accept-licence")
    assert code == 1 and "a web page (HTML), not a checkpoint" in said and "Traceback" not in said
    code, said = fmgs("models", "add", tmp_path / "none.pth", "--accept-licence")
    assert code == 1 and "expected a file, got none" in said
