"""From an ONNX file to TensorRT's own bytes, for versions 10 and 11."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from fmgs_core.priors.engines.engine import OnProgress, TensorSpec
from fmgs_core.priors.engines.export import EXTERNAL_ABOVE_BYTES

VERSIONS = (10, 11)
"""In both, networks may be strongly typed: each type is the graph's. 11 knows nothing else."""
_WORKSPACE_BYTES = 4 << 30


def load_tensorrt() -> Any:
    """
    Raises:
        ImportError: it is missing, or cannot load its libraries.
        ValueError: another version.
    """
    try:
        import tensorrt  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:
        needs = f"this engine needs TensorRT {VERSIONS[0]} or {VERSIONS[1]}: pip install tensorrt (several gigabytes)"
        raise ImportError(f"{needs}; {error}", name="tensorrt") from error
    check_version(tensorrt.__version__)
    return tensorrt


def check_version(version: str) -> None:
    """
    Raises:
        ValueError: neither of VERSIONS.
    """
    if version.split(".")[0] not in map(str, VERSIONS):
        raise ValueError(f"tensorrt: expected version {' or '.join(map(str, VERSIONS))}, got {version}")


class Messages:
    """What TensorRT logs; its functions answer with None and say why only here."""

    def __init__(self, trt: Any):
        self.errors: list[str] = []
        self.logger = _logger(trt, self.errors)

    def why(self) -> str:
        return "; ".join(self.errors[-3:]) or "it does not say why"


def _logger(trt: Any, errors: list[str]) -> Any:
    class Logger(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(message.strip())

    return Logger()


def progress_monitor(trt: Any, on_progress: OnProgress) -> Any:
    """TensorRT's phases as progress: the share is that of the outermost phase. Called from its threads.

    An exception of `on_progress` (Ctrl-C among them) cannot pass through TensorRT: the build is cancelled, and `failure`
    holds it.
    """

    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            trt.IProgressMonitor.__init__(self)
            self.failure: BaseException | None = None
            self._outermost, self._steps = "", 1

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._outermost, self._steps = phase_name, max(num_steps, 1)
                self._say(0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._outermost:
                self._say(step + 1)
            return self.failure is None

        def phase_finish(self, phase_name: str) -> None:
            if phase_name == self._outermost:
                self._say(self._steps)

        def _say(self, steps: int) -> None:
            try:
                on_progress(f"TensorRT: {self._outermost}", min(steps / self._steps, 1.0))
            except BaseException as error:
                self.failure = self.failure or error

    return Monitor()


def build(
    trt: Any, onnx: Path, input: TensorSpec, batch: tuple[int, int, int], dtype: torch.dtype, on_progress: OnProgress
) -> bytes:
    """Minutes. The graph is cast to `dtype` first, since types are the graph's; float32 uses TF32 products.

    Args:
        batch: the smallest, usual and largest number of pictures at once.

    Raises:
        ImportError: onnx is missing.
        ValueError: TensorRT cannot read or build the network; says what it logged.
    """
    with tempfile.TemporaryDirectory(prefix=".cast", dir=onnx.parent) as folder:
        on_progress(f"casting the network to {str(dtype).removeprefix('torch.')}", 0.0)
        typed = onnx if dtype == torch.float32 else write_cast(onnx, Path(folder) / onnx.name, dtype)
        return _built(trt, typed, input, batch, on_progress)


def write_cast(onnx_path: Path, path: Path, dtype: torch.dtype) -> Path:
    """The file in fewer bits, as `path`, its weights beside it where they are large."""
    try:
        import onnx
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("TensorRT engines need onnx: pip install fmgs_ros[gpu]", name="onnx") from missing
    from fmgs_core.priors.engines.cast import cast_model

    model = cast_model(onnx.load(onnx_path), dtype)
    large = sum(len(t.raw_data) for t in model.graph.initializer) > EXTERNAL_ABOVE_BYTES
    onnx.save_model(model, path, save_as_external_data=large, location=f"{path.name}.data" if large else None)
    return path


def _built(trt: Any, onnx: Path, input: TensorSpec, batch: tuple[int, int, int], on_progress: OnProgress) -> bytes:
    messages, monitor = Messages(trt), progress_monitor(trt, on_progress)
    builder = trt.Builder(messages.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse_from_file(str(onnx)):
        why = "; ".join(parser.get_error(k).desc() for k in range(parser.num_errors)) or messages.why()
        raise ValueError(f"TensorRT {trt.__version__} cannot read {onnx.name}: {why}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.progress_monitor = monitor
    profile = builder.create_optimization_profile()
    profile.set_shape(input.name, *(input.of_batch(count) for count in batch))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if monitor.failure is not None:
        raise monitor.failure
    if plan is None:
        raise ValueError(f"TensorRT {trt.__version__} cannot build {onnx.name}: {messages.why()}")
    return bytes(plan)
