"""How times and memory grow with splats, pixels and keyframes."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from fmgs_core.avatar.model import Avatar
from fmgs_core.benchmark.measurement import Progress, interleaved_ms
from fmgs_core.benchmark.memory import resident_mb
from fmgs_core.benchmark.peer import GRADIENTS, RasterPeer
from fmgs_core.benchmark.person import View, turning_person
from fmgs_core.benchmark.scenes import ellipsoid_camera, ellipsoid_splats
from fmgs_core.benchmark.step import everything_learns
from fmgs_core.body.template import BodyModel
from fmgs_core.raster import rasterize
from fmgs_core.training.keyframes import MemoryConfig
from fmgs_core.training.trainer import Trainer
from fmgs_core.types import Camera, Channel, Splats

SPLATS = (10_000, 20_000, 50_000, 100_000, 200_000)
SIZES_PX = ((256, 256), (512, 512), (1024, 1024), (1920, 1080))
KEYFRAMES = (10, 30, 100, 300, 1000)
SPLATS_OVER_PIXELS = 50_000
KEYFRAME_SIDE_PX = 256
"""A thousand keyframes at the usual size would take 4 GB."""
REPEATS, WARM_UP = 9, 2


@dataclass(frozen=True)
class Growth:
    """One or more series over a common size.

    Raises:
        ValueError: a series that is not as long as x.
    """

    x_label: str
    y_label: str
    """With its unit in brackets."""
    x: list[int]
    ys: dict[str, list[float]]

    def __post_init__(self):
        for name, y in self.ys.items():
            if len(y) != len(self.x):
                raise ValueError(f"Growth.ys[{name!r}]: expected {len(self.x)} values, one for each x, got {len(y)}")


def growth(body: BodyModel, peer: RasterPeer | None, progress: Progress) -> Iterator[Growth]:
    """Training over keyframes, drawing over splats and over pixels."""
    yield from _over_keyframes(body, KEYFRAMES, progress)  # first: later, what drawing has freed would be filled unseen
    yield _over_splats(SPLATS, peer, progress)
    yield _over_pixels(SIZES_PX, peer, progress)


def _over_splats(counts: tuple[int, ...], peer: RasterPeer | None, progress: Progress) -> Growth:
    camera = ellipsoid_camera(512)
    times = []
    for count in counts:
        progress(f"growth: {count} splats")
        times.append(_drawing_ms(ellipsoid_splats(count), camera, peer))
    return Growth("splats, of which half face the camera", "forward and backward [ms]", list(counts), _series(times))


def _over_pixels(sizes_px: tuple[tuple[int, int], ...], peer: RasterPeer | None, progress: Progress) -> Growth:
    splats = ellipsoid_splats(SPLATS_OVER_PIXELS)
    times = []
    for width, height in sizes_px:
        progress(f"growth: {width} x {height} px")
        times.append(_drawing_ms(splats, _widened(ellipsoid_camera(height), width), peer))
    pixels = [width * height for width, height in sizes_px]
    return Growth(f"pixels, {SPLATS_OVER_PIXELS:,} splats", "forward and backward [ms]", pixels, _series(times))


def _widened(camera: Camera, width: int) -> Camera:
    return camera.cropped(-((width - camera.width) // 2), 0, width, camera.height)


def _drawing_ms(splats: Splats, camera: Camera, peer: RasterPeer | None) -> dict[str, float]:
    calls: dict[str, Callable[[], object]] = {"cpu backend": lambda: forward_backward(splats, camera)}
    if peer is not None:
        job = peer.job(splats, camera, 3)
        gradients = {name: np.ones_like(picture) for name, picture in job.forward().items()}
        calls["C++ peer"] = lambda: job.backward(job.forward(), gradients)
    return interleaved_ms(calls, REPEATS, WARM_UP)


def forward_backward(splats: Splats, camera: Camera) -> tuple[torch.Tensor, ...]:
    """Gradients of a colour picture's sum, down to every attribute that it depends on."""
    names = GRADIENTS[:-1]
    leaves = {name: getattr(splats, name).detach().requires_grad_() for name in names}
    rendering = rasterize(replace(splats, **leaves), camera, {Channel.RGB}, cull_backfaces=True)
    assert rendering.rgb is not None
    return torch.autograd.grad(rendering.rgb.sum() + rendering.alpha.sum(), list(leaves.values()))


def _series(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _over_keyframes(body: BodyModel, counts: tuple[int, ...], progress: Progress) -> Iterator[Growth]:
    """Times of a step and of taking a frame in, and what the memory then holds."""
    config = replace(everything_learns(), memory=MemoryConfig(budget=counts[-1], held_out=0, min_novelty_m=0.0))
    trainer, views = Trainer(Avatar(body), config), _endless_views(body)
    _add(trainer, next(views))
    trainer.step()
    start_mb, times, sizes = resident_mb(), [], []
    for count in counts:
        progress(f"growth: {count} keyframes")
        added_ms = [_milliseconds(lambda: _add(trainer, next(views))) for _ in range(count - len(trainer.memory))]
        step_ms = interleaved_ms({"step": trainer.step}, 4 * REPEATS, WARM_UP)["step"]
        times.append({"training step": step_ms, "taking a frame in": float(np.median(added_ms[-30:]))})
        sizes.append(resident_mb() - start_mb)
    label = f"keyframes of {KEYFRAME_SIDE_PX}-px pictures"
    yield Growth(label, "time [ms]", list(counts), _series(times))
    yield Growth(label, "memory [MB]", list(counts), {"resident, added": sizes})


def _endless_views(body: BodyModel) -> Iterator[View]:
    """Few pictures, each in ever other poses: making a thousand would take longer than what is measured."""
    views = turning_person(body, 16, KEYFRAME_SIDE_PX, round(0.8 * KEYFRAME_SIDE_PX))
    rng = np.random.default_rng(0)
    while True:
        for view in views:
            pose = view.state.pose + rng.normal(0, 0.05, view.state.pose.shape)
            yield replace(view, state=replace(view.state, pose=pose))


def _add(trainer: Trainer, view: View) -> None:
    trainer.add(view.frame, view.maps, view.state)


def _milliseconds(call: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start_s)
