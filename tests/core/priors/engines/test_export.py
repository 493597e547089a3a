"""ONNX files of networks, read by onnxruntime. Kinds: parity with torch, round trip, behaviour on bad input."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fmgs_core.priors.engines import export
from fmgs_core.priors.engines.engine import Engine, TensorSpec, network_io
from fmgs_core.priors.engines.export import OPSET, export_onnx, onnx_sha256, read_export, record_path, weights_path
from fmgs_core.priors.engines.onnxruntime_engine import (
    OnnxRuntimeEngine,
    check_available,
    check_distributions,
    check_started,
)
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.sapiens.tasks import Task

from .networks import INPUT_HW, tiny

pytest.importorskip("onnxscript", reason="pip install fmgs_ros[sapiens]")
onnx = pytest.importorskip("onnx", reason="pip install fmgs_ros[sapiens]")

# Of outputs with a range of 5: float32 sums of 64 numbers in another order.
SAME = {"atol": 2e-5, "rtol": 0}


@pytest.fixture
def exported(onnx_file: Callable[[Task], Path]) -> Path:
    return onnx_file(Task.NORMAL)


def small() -> tuple[nn.Module, tuple[TensorSpec, TensorSpec]]:
    """Less than a network, for what is about files."""
    return nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False), network_io((8, 8), 3, (8, 8))


@pytest.mark.parametrize("task", [Task.DEPTH, Task.SEG, Task.POSE])
def test_every_head_says_what_torch_says(task: Task, onnx_file: Callable[[Task], Path]):
    (network, io), path = tiny(task), onnx_file(task)
    pixels, record = torch.randn(1, 3, *INPUT_HW), read_export(path)
    torch.testing.assert_close(OnnxRuntimeEngine(path, io).run(pixels), TorchEngine(network, io).run(pixels), **SAME)
    assert record is not None and 0 < record.max_abs < 2e-5 and record.value_range > 0.1


def test_progress_and_record(tmp_path: Path):
    steps: list[tuple[str, float]] = []
    record = export_onnx(*small(), Task.NORMAL, path := tmp_path / "a.onnx", lambda *step: steps.append(step))
    assert read_export(path) == record and record.sha256 == onnx_sha256(path)
    assert [share for _, share in steps] == sorted(share for _, share in steps) and steps[-1] == ("exported", 1.0)


@pytest.mark.parametrize("batch", [1, 3])
def test_any_number_of_pictures(exported: Path, batch: int):
    network, io = tiny(Task.NORMAL)
    engine, pixels = OnnxRuntimeEngine(exported, io, threads=1), torch.randn(batch, 3, *INPUT_HW)
    torch.testing.assert_close(engine.run(pixels), TorchEngine(network, io).run(pixels), **SAME)
    assert isinstance(engine, Engine) and engine.name == "onnxruntime CPUExecutionProvider float32"
    assert engine.input.shape == (None, 3, *INPUT_HW)


def test_pixels_that_are_a_view_are_taken_as_they_look(exported: Path):
    _, io = tiny(Task.NORMAL)
    engine, wide = OnnxRuntimeEngine(exported, io), torch.randn(1, 3, INPUT_HW[0], 2 * INPUT_HW[1])
    assert torch.equal(engine.run(wide[..., ::2]), engine.run(wide[..., ::2].clone()))


def test_maps_are_in_memory_of_their_own(exported: Path):
    _, io = tiny(Task.NORMAL)
    engine = OnnxRuntimeEngine(exported, io)
    first = engine.run(torch.zeros(1, 3, *INPUT_HW))
    before = first.clone()
    engine.run(torch.ones(1, 3, *INPUT_HW))
    engine.close()
    assert torch.equal(first, before)


def test_the_file_is_valid_and_says_its_opset(exported: Path):
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [o.version for o in model.opset_import if not o.domain] == [OPSET]


def test_large_weights_lie_beside_and_move_with_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    module, io = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 3, 3, padding=1)), small()[1]
    monkeypatch.setattr(export, "EXTERNAL_ABOVE_BYTES", 1000)
    record = export_onnx(module, io, Task.DEPTH, path := tmp_path / "a.onnx")
    assert OnnxRuntimeEngine(path, io).run(torch.zeros(1, 3, 8, 8)).isfinite().all()
    assert {p.name for p in tmp_path.iterdir()} == {"a.onnx", "a.onnx.data", "a.onnx.json"}
    assert record.bytes == path.stat().st_size + weights_path(path).stat().st_size and record.sha256 == onnx_sha256(path)
    tmp_path.joinpath("a.onnx.data").write_bytes(b"\0" * weights_path(path).stat().st_size)
    assert record.sha256 != onnx_sha256(path), "weights count"
    monkeypatch.undo()
    export_onnx(module, io, Task.DEPTH, path)
    assert not weights_path(path).exists() and read_export(path).sha256 == onnx_sha256(path)


def test_a_file_that_disagrees_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(export.TorchEngine, "run", lambda self, pixels: torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"normal: the ONNX file and torch differ, max .* it was not kept"):
        export_onnx(*small(), Task.NORMAL, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_stood_there_stays_when_an_export_fails(exported: Path, tmp_path: Path):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")

    class Failing(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no such layer")

    with pytest.raises(Exception, match="no such layer"):
        export_onnx(Failing(), network_io((8, 8), 3, (8, 8)), Task.NORMAL, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_onnxscript_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install fmgs_ros\[sapiens\]"):
        export_onnx(*small(), Task.NORMAL, tmp_path / "a.onnx")


def test_records(exported: Path, tmp_path: Path):
    assert read_export(tmp_path / "none.onnx") is None
    record_path(tmp_path / "a.onnx").write_text("{}")
    with pytest.raises(ValueError, match="expected the record of an export"):
        read_export(tmp_path / "a.onnx")
    record_path(tmp_path / "a.onnx").write_text(record_path(exported).read_text())
    with pytest.raises(ValueError, match=r"expected the file that a\.onnx\.json speaks of, got none"):
        read_export(tmp_path / "a.onnx")


@pytest.mark.parametrize(
    ("io", "message"),
    [
        (network_io(INPUT_HW, 4, (32, 24)), r"expected output maps: float32 \(\* 4 32 24\), got maps: float32 \(\* 3 32 24\)"),
        (network_io((48, 64), 3, (32, 24)), r"expected input pixels: float32 \(\* 3 48 64\), got pixels"),
    ],
)
def test_another_network_in_the_file_is_refused(exported: Path, io, message: str):
    with pytest.raises(ValueError, match=message):
        OnnxRuntimeEngine(exported, io)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path):
    _, io = tiny(Task.NORMAL)
    (tmp_path / "a.onnx").write_bytes(b"not a protobuf")
    for name in ("a.onnx", "none.onnx"):
        with pytest.raises(ValueError, match="expected an ONNX file that onnxruntime can load"):
            OnnxRuntimeEngine(tmp_path / name, io)


def test_another_provider_is_never_taken_silently():
    with pytest.raises(ValueError, match=r"expected CUDAExecutionProvider, got CPUExecutionProvider: .*onnxruntime-gpu"):
        check_available("CUDAExecutionProvider", ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="expected CUDAExecutionProvider, got CPUExecutionProvider: it is installed but"):
        check_started("CUDAExecutionProvider", ["CPUExecutionProvider"])
    check_started("CUDAExecutionProvider", ["CUDAExecutionProvider", "CPUExecutionProvider"])


def test_two_packages_of_onnxruntime_are_refused():
    with pytest.raises(
        ImportError, match=r"onnxruntime 1\.2 and onnxruntime-gpu 1\.3 overwrite each other's files: pip uninst"
    ):
        check_distributions({"onnxruntime": "1.2", "onnxruntime-gpu": "1.3"})
    check_distributions({"onnxruntime": None, "onnxruntime-gpu": "1.3"})
