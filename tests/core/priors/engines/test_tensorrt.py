"""TensorRT's way from an ONNX file to maps, with onnxruntime in its place. Kinds: parity, behaviour; the GPU's own part is
in tests/gpu."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fmgs_core.priors.engines import tensorrt_engine as module
from fmgs_core.priors.engines.engine import Engine, network_io
from fmgs_core.priors.engines.engine_file import engine_path
from fmgs_core.priors.engines.tensorrt_build import check_version, load_tensorrt, progress_monitor
from fmgs_core.priors.engines.tensorrt_engine import TensorRTEngine, cached_engine, engine_key, tensorrt_engine
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.sapiens.tasks import Task

from .networks import INPUT_HW, tiny

pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")
onnx = pytest.importorskip("onnx", reason="pip install fmgs_ros[sapiens]")
pytest.importorskip("onnxscript", reason="pip install fmgs_ros[sapiens]")

from . import tensorrt_twin as twin  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "gpu_of", lambda device: ("NVIDIA RTX 4090", "8.9"))
    twin.CALLS.clear()


@pytest.fixture
def path(onnx_file: Callable[[Task], Path], tmp_path: Path) -> Path:
    """Of the network, in a folder without engines."""
    path = tmp_path / "normal.onnx"
    path.write_bytes(onnx_file(Task.NORMAL).read_bytes())
    return path


def engine_of(path: Path, dtype: torch.dtype = torch.float16, *, batch: int = 1, again: bool = False, on_progress=None):
    _, io = tiny(Task.NORMAL)
    said = on_progress or (lambda what, share: None)
    return cached_engine(twin, path, io, Task.NORMAL, CPU, dtype, batch, again, said)


def engine_file(path: Path, dtype: torch.dtype = torch.float16) -> Path:
    _, io = tiny(Task.NORMAL)
    return engine_path(path, engine_key(twin.__version__, path, io, CPU, dtype, 1))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 2e-5), (torch.float16, 0.02)])
def test_says_what_torch_says(path: Path, dtype: torch.dtype, error: float):
    network, io = tiny(Task.NORMAL)
    engine, pixels = engine_of(path, dtype, batch=2), torch.randn(2, 3, *INPUT_HW)
    difference = (engine.run(pixels) - TorchEngine(network, io).run(pixels)).abs().max()
    assert difference < error, "of a range of 5, with 23 or 10 bits of mantissa"
    assert isinstance(engine, Engine) and engine.name.startswith("TensorRT 10.9.0 float")
    wide = torch.randn(1, 3, INPUT_HW[0], 2 * INPUT_HW[1])[..., ::2]
    assert torch.equal(engine.run(wide), engine.run(wide.clone())), "a view is taken as it looks"


def test_built_once_and_then_read(path: Path):
    steps: list[tuple[str, float]] = []
    first = engine_of(path, on_progress=lambda *step: steps.append(step))
    assert twin.CALLS == ["build", "deserialize", "run on stream 0"], "verified before it is kept"
    assert [what for what, _ in steps] == [
        "casting the network to float16", *["TensorRT: Building"] * 4, "comparing the engine with onnxruntime", "built",
    ]  # fmt: skip
    pixels = torch.randn(1, 3, *INPUT_HW)
    assert torch.equal(engine_of(path).run(pixels), first.run(pixels)) and twin.CALLS.count("build") == 1
    engine_of(path, again=True)
    engine_of(path, torch.float32)
    assert twin.CALLS.count("build") == 3
    names = {p.name for p in path.parent.iterdir()}
    assert names == {path.name, engine_file(path).name, engine_file(path, torch.float32).name}, "nothing else is left"


@pytest.mark.parametrize("k", [0, 40, 400, -1])
def test_a_corrupted_engine_never_reaches_the_runtime(path: Path, k: int):
    engine_of(path)
    content = bytearray(engine_file(path).read_bytes())
    content[k] ^= 0xFF
    engine_file(path).write_bytes(content)
    twin.CALLS.clear()
    with pytest.raises(ValueError, match="is not used: expected"):
        engine_of(path)
    assert twin.CALLS == []
    engine_of(path, again=True)
    engine_of(path)


def test_an_engine_that_disagrees_is_refused_with_figures_and_not_kept(path: Path, monkeypatch: pytest.MonkeyPatch):
    true_run = TensorRTEngine.run
    monkeypatch.setattr(TensorRTEngine, "run", lambda self, pixels: true_run(self, pixels).roll(1, 2))
    with pytest.raises(ValueError, match=r"float16 is not used for normal: it disagrees with onnxruntime .*: .*mean_deg \d"):
        engine_of(path)
    assert not engine_file(path).exists()


def test_bytes_that_the_runtime_refuses(path: Path):
    _, io = tiny(Task.NORMAL)
    with pytest.raises(ValueError, match=r"TensorRT 10\.9\.0 refuses the engine: magic tag does not match"):
        TensorRTEngine(twin, b"not an engine", io, device=CPU, dtype=torch.float16)


@pytest.mark.parametrize(
    "io", [network_io(INPUT_HW, 4, (32, 24)), network_io((48, 64), 3, (32, 24)), network_io(INPUT_HW, 3, (32, 25))]
)
def test_another_networks_engine_is_refused(path: Path, io):
    with pytest.raises(ValueError, match=r"TensorRT engine: expected input pixels.*, got input pixels: float32 \(\* 3 64 48\)"):
        TensorRTEngine(twin, path.read_bytes(), io, device=CPU, dtype=torch.float32)


def test_more_pictures_than_it_was_built_for(path: Path):
    with pytest.raises(ValueError, match="expected at most 1 pictures at once, got 2"):
        engine_of(path).run(torch.zeros(2, 3, *INPUT_HW))


def test_a_run_that_fails_is_said(path: Path, monkeypatch: pytest.MonkeyPatch):
    engine = engine_of(path)
    monkeypatch.setattr(twin._Context, "execute_async_v3", lambda self, stream: False)
    with pytest.raises(RuntimeError, match="did not run: it does not say why"):
        engine.run(torch.zeros(1, 3, *INPUT_HW))


def test_a_network_it_cannot_read_or_build(path: Path):
    model = onnx.load(path)
    model.graph.doc_string = "too large"
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"cannot build normal\.onnx: out of memory$"):
        engine_of(path, torch.float32)


def test_a_build_can_be_broken_off(path: Path):
    shares: list[float] = []

    def interrupted(what: str, share: float) -> None:
        shares.append(share)
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine_of(path, on_progress=interrupted)
    assert sum(share > 0 for share in shares) == 1, "the builder is told at its next step"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_progress_is_the_outermost_phases():
    steps: list[tuple[str, float]] = []
    monitor = progress_monitor(twin, lambda *step: steps.append(step))
    monitor.phase_start("Outer", None, 4)
    monitor.phase_start("Inner", "Outer", 100)
    assert monitor.step_complete("Inner", 50) and monitor.step_complete("Outer", 0)
    monitor.phase_finish("Outer")
    assert steps == [("TensorRT: Outer", 0.0), ("TensorRT: Outer", 0.25), ("TensorRT: Outer", 1.0)]


@pytest.mark.parametrize(("version", "known"), [("10.0.1", True), ("11.4.1", True), ("8.6.1", False), ("100.1", False)])
def test_versions(version: str, known: bool):
    if known:
        check_version(version)
    else:
        with pytest.raises(ValueError, match=f"expected version 10 or 11, got {version}"):
            check_version(version)


def test_without_tensorrt_or_a_gpu_it_says_what_is_missing(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ImportError, match=r"needs TensorRT 10 or 11: pip install tensorrt \(several gigabytes\)"):
        load_tensorrt()
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="9.1"))
    with pytest.raises(ValueError, match=r"got 9\.1"):
        load_tensorrt()
    _, io = tiny(Task.NORMAL)
    with pytest.raises(ValueError, match="TensorRT: expected an NVIDIA GPU"):
        tensorrt_engine(path, io, Task.NORMAL, device="cpu")
