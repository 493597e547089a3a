"""What stands in for TensorRT where there is no GPU: the same names, on the CPU, computed by onnxruntime.

Of TensorRT's Python interface it has what versions 10 and 11 share and we use, and it is as strict: a phase has steps, a
network is strongly typed, an address is an address.
"""

import ctypes
import enum
import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

__version__ = "10.9.0"
CALLS: list[str] = []
"""Builds, deserialisations and runs, in their order."""


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)

    def __init__(self):
        self.alive = True


class IProgressMonitor:
    def __init__(self):
        self.alive = True


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = 1, 2


class DataType(enum.Enum):
    FLOAT, HALF, BF16 = 0, 1, 2


class _Network:
    def __init__(self, flags: int):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.model = b""


class _Error:
    def desc(self) -> str:
        return "no such operator"


class OnnxParser:
    num_errors = 1

    def __init__(self, network: _Network, logger: ILogger):
        assert logger.alive
        self._network = network

    def parse_from_file(self, path: str) -> bool:
        try:
            self._network.model = onnx.load(path).SerializeToString()
        except Exception:
            return False
        return Path(path).is_file()

    def get_error(self, index: int) -> _Error:
        return _Error()


class _Profile:
    def set_shape(self, name: str, low: tuple, usual: tuple, high: tuple) -> None:
        assert name == "pixels" and len(low) == len(usual) == len(high) == 4 and low[0] <= usual[0] <= high[0]


class _Config:
    progress_monitor: IProgressMonitor

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE and size > 0

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profile = profile
        return 0


class Builder:
    def __init__(self, logger: ILogger):
        self._logger = logger

    def create_network(self, flags: int) -> _Network:
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        CALLS.append("build")
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        for step in range(2):
            monitor.phase_start("Tactics", "Building", 5)
            if not monitor.step_complete("Tactics", 0) or not monitor.step_complete("Building", step):
                return None
            monitor.phase_finish("Tactics")
        monitor.phase_finish("Building")
        if b"too large" in network.model:
            self._logger.log(ILogger.ERROR, "out of memory")
            self._logger.log(ILogger.WARNING, "the weather")
            return None
        return network.model


class Runtime:
    def __init__(self, logger: ILogger):
        self._logger = logger

    def deserialize_cuda_engine(self, payload: bytes) -> "_Engine | None":
        CALLS.append("deserialize")
        try:
            return _Engine(onnxruntime.InferenceSession(payload, providers=["CPUExecutionProvider"]))
        except Exception:
            self._logger.log(ILogger.ERROR, "magic tag does not match")
            return None


class _Engine:
    def __init__(self, session: onnxruntime.InferenceSession):
        self.session = session
        self._io = {v.name: v for v in (*session.get_inputs(), *session.get_outputs())}
        self.num_io_tensors = len(self._io)

    def get_tensor_name(self, index: int) -> str:
        return list(self._io)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = [v.name for v in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return {"tensor(float)": DataType.FLOAT, "tensor(float16)": DataType.HALF}[self._io[name].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self._io[name].shape)

    def create_execution_context(self) -> "_Context":
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine):
        self._engine, self._shapes, self._addresses = engine, {}, {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        CALLS.append(f"run on stream {stream}")
        (name, shape), *_ = self._shapes.items()
        (result,) = self._engine.session.run(None, {name: self._memory(name, shape)})
        self._memory("maps", result.shape)[:] = result
        return True

    def _memory(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        floats = (ctypes.c_float * math.prod(shape)).from_address(self._addresses[name])
        return np.frombuffer(floats, np.float32).reshape(shape)
