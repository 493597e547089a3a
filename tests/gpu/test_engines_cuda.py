"""Engines on a GPU. Kinds: parity with torch on the CPU, zero copies, waiting, a corrupted engine."""

from pathlib import Path

import pytest
import torch

from fmgs_core.priors.engines.engine import Engine
from fmgs_core.priors.engines.engine_file import engine_path
from fmgs_core.priors.engines.export import export_onnx
from fmgs_core.priors.engines.onnxruntime_engine import OnnxRuntimeEngine
from fmgs_core.priors.engines.parity import TOLERANCES, compare
from fmgs_core.priors.engines.picture import body_picture, normalised_pixels
from fmgs_core.priors.engines.tensorrt_engine import engine_key, tensorrt_engine
from fmgs_core.priors.engines.torch_engine import TorchEngine
from fmgs_core.priors.sapiens.tasks import Task
from tests.core.priors.engines.networks import INPUT_HW, tiny

pytestmark = pytest.mark.gpu

KINDS = ("torch float32", "torch bfloat16", "onnxruntime", "tensorrt bfloat16", "tensorrt float32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript", reason="pip install onnx onnxscript")
    network, io = tiny(Task.NORMAL)
    path = tmp_path_factory.mktemp("gpu") / "normal.onnx"
    export_onnx(network, io, Task.NORMAL, path)
    return path


def opened(kind: str, path: Path) -> Engine:
    network, io = tiny(Task.NORMAL)
    name, *dtype = kind.split()
    if name == "torch":
        return TorchEngine(network, io, device="cuda", dtype=getattr(torch, dtype[0]))
    if name == "onnxruntime":
        runtime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime-gpu")
        if "CUDAExecutionProvider" not in runtime.get_available_providers():
            pytest.skip("needs onnxruntime-gpu in place of onnxruntime")
        return OnnxRuntimeEngine(path, io, device="cuda")
    pytest.importorskip("tensorrt", reason="pip install tensorrt")
    return tensorrt_engine(path, io, Task.NORMAL, dtype=getattr(torch, dtype[0]), batch=2)


@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_cpu(kind: str, exported: Path):
    network, io = tiny(Task.NORMAL)
    engine, pixels = opened(kind, exported), normalised_pixels(body_picture(*INPUT_HW))
    maps = engine.run(pixels.cuda())
    assert maps.is_cuda and maps.dtype == torch.float32
    assert compare(Task.NORMAL, TorchEngine(network, io).run(pixels), maps).complaints(TOLERANCES[Task.NORMAL]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_runs_in_order_with_torch_and_without_a_copy_home(kind: str, exported: Path):
    engine, pixels = opened(kind, exported), torch.randn(2, 3, *INPUT_HW, device="cuda")
    expected = engine.run(pixels).clone()
    torch.cuda.synchronize()
    for _ in range(20):
        busy = torch.randn(2048, 2048, device="cuda")
        for _ in range(10):
            busy = busy @ busy / 2048
        # The pixels are ready only when the products are, and are overwritten at once.
        late = pixels + 0 * busy[0, 0].nan_to_num()
        maps = engine.run(late)
        late.fill_(float("nan"))
        assert torch.equal(maps.nan_to_num(), expected.nan_to_num())


def test_tensorrt_refuses_a_corrupted_engine(exported: Path):
    trt = pytest.importorskip("tensorrt", reason="pip install tensorrt")
    _, io = tiny(Task.NORMAL)
    device = torch.device("cuda", torch.cuda.current_device())
    tensorrt_engine(exported, io, Task.NORMAL).close()
    path = engine_path(exported, engine_key(trt.__version__, exported, io, device, torch.bfloat16, 1))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not used: expected sha256"):
        tensorrt_engine(exported, io, Task.NORMAL)
