"""A run of the benchmark as a file: when, on which machine, with which versions, and every measurement."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fmgs_core.atomic import replacing
from fmgs_core.benchmark.measurement import Better, Measurement

FORMAT = "fmgs-benchmark/1"
PACKAGES = ("fmgs_ros", "torch", "numba", "numpy", "mediapipe", "gsplat")
_CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """What the figures depend on beside the code."""

    cpu: str
    cores: int
    """That this process may use."""
    gpu: str | None
    versions: dict[str, str]

    @staticmethod
    def here() -> "Machine":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        return Machine(_cpu_model(), cores, gpu, {"python": platform.python_version()} | _installed())


@dataclass(frozen=True)
class Record:
    """One run."""

    date: str
    """UTC, ISO 8601."""
    machine: Machine
    measurements: list[Measurement]

    @staticmethod
    def of(measurements: list[Measurement]) -> "Record":
        return Record(datetime.now(timezone.utc).isoformat(timespec="seconds"), Machine.here(), measurements)


def write_record(path: Path, record: Record) -> None:
    content = {"format": FORMAT, **asdict(record)}
    text = json.dumps(content, indent=1, allow_nan=False, default=lambda better: better.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """What write_record wrote.

    Raises:
        ValueError: another format.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise ValueError(f"benchmark record {path}: expected format {FORMAT}, got {content.get('format')!r}")
    rows = [Measurement(**row | {"better": Better(row["better"])}) for row in content["measurements"]]
    return Record(content["date"], Machine(**content["machine"]), rows)


def _cpu_model() -> str:
    """As the system names it; the architecture where it does not."""
    lines = _CPU_FACTS.read_text().splitlines() if _CPU_FACTS.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _installed() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
