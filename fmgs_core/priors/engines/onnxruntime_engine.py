"""A network out of an ONNX file by onnxruntime, on the CPU or on an NVIDIA GPU, and on no other than the one asked for."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.priors.engines.engine import TensorSpec, check_pixels, placed
from fmgs_core.priors.engines.side_stream import SideStream

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_INSTALL_CPU, _INSTALL_GPU = "pip install fmgs_ros[sapiens]", "pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
_DTYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16, "tensor(bfloat16)": torch.bfloat16}
_QUIET = 3  # errors only: warnings are about nodes whose shapes are computed on the CPU, as they should be


class OnnxRuntimeEngine:
    """`Engine` around a session. Pixels and maps are torch's own memory, on the CPU and on the GPU: nothing is copied.

    Args:
        threads: of one run on the CPU; 0 for one per core.

    Raises:
        ImportError: onnxruntime is missing, or two of its packages overwrite each other.
        ValueError: no such device, a provider that is missing or does not start, a file that is no ONNX model, or one with
            other inputs and outputs than `io`.
    """

    def __init__(self, path: Path, io: tuple[TensorSpec, TensorSpec], *, device: str | torch.device = "cpu", threads: int = 0):
        runtime = load_onnxruntime()
        self.device = placed(device)
        provider = PROVIDERS[self.device.type]
        check_available(provider, runtime.get_available_providers())
        self._stream = SideStream(self.device)
        self._session: Any = _session(runtime, path, provider, self._provider_options(), threads)
        check_started(provider, self._session.get_providers())
        self.input, self.output = check_io(path, io, self._session)
        self.name = f"onnxruntime {provider} float32{' (TF32 products)' if self.device.type == 'cuda' else ''}"

    @torch.no_grad()
    def run(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        check_pixels(pixels, self.input, self.device)
        assert self._session is not None, f"{self.name} is closed"
        pixels = pixels.contiguous()
        with self._stream.between(pixels):
            maps = torch.empty(self.output.of_batch(len(pixels)), dtype=torch.float32, device=self.device)
            self._session.run_with_iobinding(self._bound(pixels, maps))
        return self._stream.handed_over(maps)

    def _bound(self, pixels: Tensor, maps: Tensor) -> Any:
        binding = self._session.io_binding()
        for bind, spec, tensor in ((binding.bind_input, self.input, pixels), (binding.bind_output, self.output, maps)):
            bind(spec.name, self.device.type, self.device.index or 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
        return binding

    def _provider_options(self) -> dict[str, str]:
        if self.device.type == "cpu":
            return {}
        return {
            "device_id": str(self.device.index),
            "user_compute_stream": str(self._stream.handle),
            "arena_extend_strategy": "kSameAsRequested",
        }

    def close(self) -> None:
        self._session = None


def load_onnxruntime() -> Any:
    """
    Raises:
        ImportError: it is missing, or there are two of it.
    """
    check_distributions({name: _version(name) for name in ("onnxruntime", "onnxruntime-gpu")})
    try:
        import onnxruntime
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(f"this engine needs onnxruntime: {_INSTALL_CPU}", name="onnxruntime") from missing
    return onnxruntime


def check_distributions(versions: dict[str, str | None]) -> None:
    """
    Raises:
        ImportError: both packages are installed. They share one folder, so which one runs is an accident.
    """
    if all(versions.values()):
        found = " and ".join(f"{name} {number}" for name, number in versions.items())
        raise ImportError(
            f"{found} overwrite each other's files: pip uninstall -y onnxruntime onnxruntime-gpu, then install one of them"
        )


def check_available(provider: str, available: list[str]) -> None:
    """
    Raises:
        ValueError: the installed onnxruntime was built without the provider.
    """
    if provider not in available:
        raise ValueError(f"onnxruntime: expected {provider}, got {', '.join(available)}: {_INSTALL_GPU}")


def check_started(provider: str, running: list[str]) -> None:
    """
    Raises:
        ValueError: another provider runs. A session whose provider fails to start takes the next one and says nothing.
    """
    if not running or running[0] != provider:
        why = "it is installed but did not start; its CUDA and cuDNN must be those of the installed torch"
        raise ValueError(f"onnxruntime: expected {provider}, got {', '.join(running) or 'none'}: {why}")


def check_io(path: Path, io: tuple[TensorSpec, TensorSpec], session: Any) -> tuple[TensorSpec, TensorSpec]:
    """Input and output as the file has them.

    Raises:
        ValueError: more than one of either, or another name, shape or type than expected.
    """
    found = []
    for what, expected, values in zip(("input", "output"), io, (session.get_inputs(), session.get_outputs()), strict=True):
        specs = [_spec(value) for value in values]
        got = ", ".join(map(str, specs))
        same = len(specs) == 1 and (specs[0].name, specs[0].dtype) == (expected.name, expected.dtype)
        if not same or not expected.admits_shape(specs[0].shape):
            raise ValueError(f"{path.name}: expected {what} {expected}, got {got}")
        found.append(specs[0])
    return found[0], found[1]


def _spec(value: Any) -> TensorSpec:
    """Of onnxruntime's description of an input or output; names of free lengths become None."""
    shape = tuple(side if isinstance(side, int) else None for side in value.shape)
    return TensorSpec(value.name, shape, _DTYPES.get(value.type, torch.uint8))


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _session(runtime: Any, path: Path, provider: str, options: dict[str, str], threads: int) -> Any:
    settings = runtime.SessionOptions()
    settings.log_severity_level = _QUIET
    settings.intra_op_num_threads = threads
    # Its arena would keep for good what a run needs for a moment: 4.3 GB instead of 1.9 after one of 0.3b at half size, in
    # the same processor time.
    settings.enable_cpu_mem_arena = False
    # Threads that spin while they wait take the cores from capture and training beside them.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider == PROVIDERS["cuda"] and hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()  # those of torch, which is imported already
    try:
        session = runtime.InferenceSession(str(path), settings, providers=[(provider, options)])
    except Exception as error:  # its exceptions have no common class of their own
        raise ValueError(f"{path}: expected an ONNX file that onnxruntime can load, got: {error}") from error
    session.disable_fallback()
    return session
