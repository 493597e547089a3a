"""A network by TensorRT on an NVIDIA GPU: built once for each GPU, compared with onnxruntime before anybody uses it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.priors.engines.engine import Engine, OnProgress, TensorSpec, check_pixels, placed, silent
from fmgs_core.priors.engines.engine_file import EngineKey, engine_path, read_engine, write_engine
from fmgs_core.priors.engines.export import onnx_sha256
from fmgs_core.priors.engines.onnxruntime_engine import OnnxRuntimeEngine
from fmgs_core.priors.engines.parity import TOLERANCES, Parity, compare
from fmgs_core.priors.engines.picture import body_picture, normalised_pixels
from fmgs_core.priors.engines.side_stream import SideStream
from fmgs_core.priors.engines.tensorrt_build import Messages, build, load_tensorrt
from fmgs_core.priors.sapiens.tasks import Task

IO = tuple[TensorSpec, TensorSpec]


class TensorRTEngine:
    """`Engine` around a deserialised engine. Pixels and maps are torch's own memory: nothing is copied.

    Args:
        payload: what `build` gave, unchanged.
        batch: the largest number of pictures at once that it was built for.

    Raises:
        ValueError: TensorRT refuses the bytes, or they are of a network with another input or output.
    """

    def __init__(self, trt: Any, payload: bytes, io: IO, *, device: torch.device, dtype: torch.dtype, batch: int = 1):
        self._trt, self._messages = trt, Messages(trt)
        self.device = device
        with _on(device):
            self._runtime = trt.Runtime(self._messages.logger)
            self._engine = self._runtime.deserialize_cuda_engine(payload)
            if self._engine is None:
                raise ValueError(f"TensorRT {trt.__version__} refuses the engine: {self._messages.why()}")
            check_bindings(trt, self._engine, io)
            self._context: Any = self._engine.create_execution_context()
        self.input, self.output = io
        self._largest, self._stream = batch, SideStream(device)
        products = " (TF32 products)" if dtype == torch.float32 else ""
        self.name = f"TensorRT {trt.__version__} {str(dtype).removeprefix('torch.')}{products}"

    @torch.no_grad()
    def run(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        check_pixels(pixels, self.input, self.device)
        if len(pixels) > self._largest:
            raise ValueError(f"engine input: expected at most {self._largest} pictures at once, got {len(pixels)}")
        assert self._context is not None, f"{self.name} is closed"
        pixels = pixels.contiguous()
        with self._stream.between(pixels):
            maps = torch.empty(self.output.of_batch(len(pixels)), dtype=torch.float32, device=self.device)
            done = all(self._steps(pixels, maps))
        if not done:
            raise RuntimeError(f"{self.name} did not run: {self._messages.why()}")
        return self._stream.handed_over(maps)

    def _steps(self, pixels: Tensor, maps: Tensor) -> Iterator[bool]:
        """Each true when it worked; what follows a failure is not tried."""
        yield self._context.set_input_shape(self.input.name, tuple(pixels.shape))
        yield self._context.set_tensor_address(self.input.name, pixels.data_ptr())
        yield self._context.set_tensor_address(self.output.name, maps.data_ptr())
        yield self._context.execute_async_v3(self._stream.handle)

    def close(self) -> None:
        """The context before its engine, and that before its runtime."""
        self._context = None
        self._engine = None
        self._runtime = None


def tensorrt_engine(
    onnx: Path,
    io: IO,
    task: Task,
    *,
    device: str | torch.device = "cuda",
    dtype: torch.dtype = torch.bfloat16,
    batch: int = 1,
    again: bool = False,
    on_progress: OnProgress = silent,
) -> TensorRTEngine:
    """The engine of an ONNX file for this GPU: read where it was built before, else built, verified and kept beside the file.

    Args:
        again: build it even where there is one.

    Raises:
        ImportError: TensorRT, onnx or onnxruntime is missing.
        ValueError: no such GPU; an engine file that is damaged; a network that cannot be built; or an engine that disagrees
            with onnxruntime, with the figures.
    """
    found = placed(device)
    if found.type != "cuda":
        raise ValueError(f"TensorRT: expected an NVIDIA GPU (device cuda), got {found}")
    return cached_engine(load_tensorrt(), onnx, io, task, found, dtype, batch, again, on_progress)


def cached_engine(
    trt: Any, onnx: Path, io: IO, task: Task, device: torch.device, dtype: torch.dtype, batch: int, again: bool,
    on_progress: OnProgress,
) -> TensorRTEngine:  # fmt: skip
    """`tensorrt_engine` with TensorRT, or what stands in for it, on a device that is known to be right."""
    key = engine_key(trt.__version__, onnx, io, device, dtype, batch)
    path = engine_path(onnx, key)
    if path.is_file() and not again:
        payload, _ = read_engine(path, key)
        return TensorRTEngine(trt, payload, io, device=device, dtype=dtype, batch=batch)
    reference = OnnxRuntimeEngine(onnx, io)  # before minutes of building: it may be missing
    with _on(device):
        payload = build(trt, onnx, io[0], (1, 1, batch), dtype, on_progress)
    engine = TensorRTEngine(trt, payload, io, device=device, dtype=dtype, batch=batch)
    on_progress("comparing the engine with onnxruntime", 0.95)
    parity = verified(task, engine, reference)
    reference.close()
    write_engine(path, key, payload, parity.text())
    on_progress("built", 1.0)
    return engine


def engine_key(version: str, onnx: Path, io: IO, device: torch.device, dtype: torch.dtype, batch: int) -> EngineKey:
    gpu, capability = gpu_of(device)
    shapes = f"{io[0]}; {io[1]}; batch 1 to {batch}"
    return EngineKey(onnx_sha256(onnx), version, gpu, capability, str(dtype).removeprefix("torch."), shapes)


def gpu_of(device: torch.device) -> tuple[str, str]:
    """Name and compute capability."""
    major, minor = torch.cuda.get_device_capability(device)
    return torch.cuda.get_device_name(device), f"{major}.{minor}"


def verified(task: Task, engine: Engine, reference: Engine) -> Parity:
    """Both on one picture of a person; the reference computes in float32.

    Raises:
        ValueError: they disagree by more than the task's TOLERANCES, with the figures.
    """
    height, width = engine.input.of_batch(1)[2:]
    pixels = normalised_pixels(body_picture(height, width))
    parity = compare(task, reference.run(pixels.to(reference.device)), engine.run(pixels.to(engine.device)))
    if complaints := parity.complaints(TOLERANCES[task]):
        engine.close()
        raise ValueError(
            f"{engine.name} is not used for {task.value}: it disagrees with {reference.name}: {'; '.join(complaints)}."
            " A higher precision may agree: --dtype float32"
        )
    return parity


def check_bindings(trt: Any, engine: Any, io: IO) -> None:
    """
    Raises:
        ValueError: other inputs or outputs, by name, direction, shape or type.
    """
    names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
    found = {name: _binding(trt, engine, name) for name in names}
    expected = {io[0].name: ("input", io[0]), io[1].name: ("output", io[1])}
    same = found.keys() == expected.keys() and all(
        found[name][0] == way and found[name][1].dtype == spec.dtype and spec.admits_shape(_fixed(found[name][1], spec))
        for name, (way, spec) in expected.items()
    )
    if not same:
        lists = (", ".join(f"{way} {spec}" for way, spec in specs.values()) for specs in (expected, found))
        raise ValueError("TensorRT engine: expected {}, got {}".format(*lists))


def _fixed(found: TensorSpec, expected: TensorSpec) -> tuple[int | None, ...]:
    """The found shape, except that a batch that may vary is as good as a fixed one."""
    return (expected.shape[0], *found.shape[1:])


def _binding(trt: Any, engine: Any, name: str) -> tuple[str, TensorSpec]:
    way = "input" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "output"
    types = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16, trt.DataType.BF16: torch.bfloat16}
    dtype = types.get(engine.get_tensor_dtype(name), torch.uint8)
    shape = tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(name))
    return way, TensorSpec(name, shape, dtype)


def _on(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
