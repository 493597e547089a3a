"""A stored model through every engine of this machine on one picture: do they agree, what do they cost."""

import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fmgs_core.priors.engines.engine import Engine, OnProgress, silent
from fmgs_core.priors.engines.parity import TOLERANCES, Parity, compare
from fmgs_core.priors.engines.picture import normalised_pixels
from fmgs_core.priors.store import EngineKind, StoredModel, open_engine

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5)
_QUICK_S, _REPEATS = 2.0, 5


@dataclass(frozen=True)
class EngineChoice:
    """One of the ways to run a network."""

    kind: EngineKind
    device: str
    dtype: torch.dtype = torch.float32

    @property
    def exact(self) -> bool:
        """Whether every product is in full float32; GPUs take shortcuts."""
        return self.device == "cpu" and self.dtype == torch.float32

    def __str__(self) -> str:
        return f"{self.kind} {self.device} {str(self.dtype).removeprefix('torch.')}"


def available_choices() -> tuple[EngineChoice, ...]:
    """All engines that could run here beside REFERENCE; a package that is missing is no reason to complain."""
    choices = [EngineChoice("onnxruntime", "cpu")] if find_spec("onnxruntime") else []
    if torch.cuda.is_available():
        choices += [EngineChoice("torch", "cuda"), EngineChoice("torch", "cuda", torch.bfloat16)]
        choices += [EngineChoice("onnxruntime", "cuda")] if _has_distribution("onnxruntime-gpu") else []
        choices += [EngineChoice("tensorrt", "cuda", torch.bfloat16)] if find_spec("tensorrt") else []
    return tuple(choices)


REFERENCE = EngineChoice("torch", "cpu")
"""What all others are compared with: the user's own weights, and no conversion."""


@dataclass(frozen=True)
class EngineCheck:
    """What one engine said and cost, or why it did not run."""

    choice: EngineChoice
    name: str = ""
    load_s: float = float("nan")
    """Until it could run; with a first export or build, that too."""
    run_ms: float = float("nan")
    """One picture: median of a few runs, or the only one where that takes seconds."""
    peak_mb: float = float("nan")
    """Most resident memory of this process above what it had before, while loading and running; on a GPU, memory taken
    there. NaN where the system does not tell."""
    parity: Parity | None = None
    """To REFERENCE; None for itself."""
    complaints: tuple[str, ...] = ()
    """Empty when it agrees."""


def check_engines(
    model: StoredModel,
    choices: tuple[EngineChoice, ...],
    picture: UInt8[np.ndarray, "h w 3"],
    on_progress: OnProgress = silent,
) -> Iterator[EngineCheck]:
    """REFERENCE first, then the choices, each as soon as it is done. The picture has the network's input size.

    An engine that cannot be had or disagrees is a row with complaints. What is wrong with the file itself raises ValueError.
    """
    pixels = normalised_pixels(picture)
    row, expected = _measured(model, REFERENCE, pixels, on_progress)
    yield row
    for choice in choices:
        try:
            row, maps = _measured(model, choice, pixels, on_progress)
        except (ValueError, ImportError, RuntimeError) as error:
            yield EngineCheck(choice, str(choice), complaints=(str(error),))
            continue
        yield _judged(model, row, compare(model.task, expected, maps))


def _judged(model: StoredModel, row: EngineCheck, parity: Parity) -> EngineCheck:
    complaints = parity.complaints(TOLERANCES[model.task])
    if row.choice.exact and not parity.exact():
        complaints.append(f"float32 differs by up to {parity.max_abs:.2e} of a range of {parity.value_range:.3g}")
    return EngineCheck(row.choice, row.name, row.load_s, row.run_ms, row.peak_mb, parity, tuple(complaints))


def _measured(
    model: StoredModel, choice: EngineChoice, pixels: Float[Tensor, "1 3 h w"], on_progress: OnProgress
) -> tuple[EngineCheck, Float[Tensor, "1 c h2 w2"]]:
    gc.collect()
    memory, started = _Memory(choice.device), time.perf_counter()
    engine = open_engine(model, choice.kind, choice.device, dtype=choice.dtype, on_progress=on_progress)
    try:
        load_s = time.perf_counter() - started
        on_progress(f"running {engine.name}", 0.5)
        run_ms, maps = _timed(engine, pixels.to(engine.device))
        return EngineCheck(choice, engine.name, load_s, run_ms, memory.peak_mb()), maps.cpu()
    finally:
        engine.close()


def _timed(engine: Engine, pixels: Float[Tensor, "1 3 h w"]) -> tuple[float, Float[Tensor, "1 c h2 w2"]]:
    """The first run counts only when it is slow: it chooses kernels and allocates."""
    first, maps = _once(engine, pixels)
    if first > _QUICK_S:
        return 1000 * first, maps
    return 1000 * median(_once(engine, pixels)[0] for _ in range(_REPEATS)), maps


def _once(engine: Engine, pixels: Float[Tensor, "1 3 h w"]) -> tuple[float, Float[Tensor, "1 c h2 w2"]]:
    started = time.perf_counter()
    maps = engine.run(pixels)
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
    return time.perf_counter() - started, maps


class _Memory:
    """Most memory in use since it was made, above what was in use then."""

    def __init__(self, device: str):
        self._device = device
        if device == "cpu" and os.access(_CLEAR_REFS, os.W_OK):
            _CLEAR_REFS.write_text(_RESET_PEAK)
        self._before = self._used("VmRSS")

    def peak_mb(self) -> float:
        return (self._used("VmHWM") - self._before) / 1e6

    def _used(self, field: str) -> float:
        """Bytes. On a GPU what is taken now: runtimes keep what they once took."""
        if self._device != "cpu":
            free, total = torch.cuda.mem_get_info(self._device)
            return total - free
        lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
        return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith(field)), float("nan"))


def _has_distribution(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False
