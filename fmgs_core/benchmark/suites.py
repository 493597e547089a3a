"""The suites by name, and what each device can run of them."""

from collections.abc import Iterator
from typing import Literal, get_args

import torch

from fmgs_core.benchmark.latency import latency_suite
from fmgs_core.benchmark.measurement import Measurement, Progress
from fmgs_core.benchmark.memory import memory_suite
from fmgs_core.benchmark.peer import RasterPeer
from fmgs_core.benchmark.raster import raster_suite
from fmgs_core.benchmark.render import render_suite
from fmgs_core.benchmark.settings import BenchmarkConfig, Device
from fmgs_core.benchmark.step import step_suite
from fmgs_core.body.default import default_body
from fmgs_core.body.parts import SAPIENS28_NAMES
from fmgs_core.raster.cuda import compile_gsplat

Suite = Literal["raster", "step", "render", "latency", "memory"]
SUITES: dict[Device, tuple[Suite, ...]] = {"cpu": get_args(Suite), "cuda": ("step", "render")}


def chosen_suites(names: tuple[Suite, ...], device: Device) -> tuple[Suite, ...]:
    """Those named, each once; all of the device's when none is.

    Raises:
        ValueError: one that the device does not run, or no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a GPU that torch can use for 'cuda', got none (fmgs doctor says what is missing)")
    foreign = [name for name in names if name not in SUITES[device]]
    if foreign:
        raise ValueError(f"suites: expected some of {', '.join(SUITES[device])} for device {device}, got {', '.join(foreign)}")
    return tuple(dict.fromkeys(names)) or SUITES[device]


def run_suite(suite: Suite, config: BenchmarkConfig, peer: RasterPeer | None, progress: Progress) -> Iterator[Measurement]:
    """Measurements as they are taken; without ratios where there is no peer, as on a GPU there is none."""
    if config.device == "cuda":
        compile_gsplat(progress, len(SAPIENS28_NAMES))
    if suite == "raster":
        yield from raster_suite(peer, progress)
    elif suite == "memory":
        yield from memory_suite(config, progress)
    else:
        reference = peer.reference_call() if peer is not None and config.device == "cpu" else None
        if suite == "latency":
            yield from latency_suite(default_body(), config, reference, progress)
        else:
            measured = {"step": step_suite, "render": render_suite}[suite]
            yield from measured(config.avatar_body(), config, reference, progress)
