"""Suite "raster": the rasterizer beside its peer, stage by stage and as whole calls, on the ellipsoid."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from fmgs_core.benchmark.measurement import Measurement, Progress, interleaved_ms, speed
from fmgs_core.benchmark.peer import CHANNELS, GRADIENTS, PeerJob, RasterPeer
from fmgs_core.benchmark.scenes import ellipsoid_camera, ellipsoid_splats
from fmgs_core.raster import rasterize
from fmgs_core.raster.drawing import composite, composite_backward, put_on_screen, tile_screen
from fmgs_core.types import Camera, Channel, Splats

COUNTS = {"9.5 k": 19_000, "38 k": 76_000}
"""Splats on the ellipsoid, by about how many of them face the camera."""
SIZES_PX = (512, 1024)
_REPEATS, _WARM_UP = 20, 3
_TOLERANCE = 0.25
_PICTURES = ("alpha", "rgb", "depth", "normal", "logits")

Stages = dict[str, Callable[[], object]]


def raster_suite(peer: RasterPeer | None, progress: Progress) -> Iterator[Measurement]:
    """Milliseconds, and ratios to the peer. "forward" and "backward" are whole calls, from splats to pictures and back."""
    for facing, count in COUNTS.items():
        for size_px in SIZES_PX:
            splats, camera = ellipsoid_splats(count), ellipsoid_camera(size_px)
            for channels in CHANNELS:
                case = f"{facing} splats, {channels} channels, {size_px} px"
                progress(case)
                yield from _measured(case, splats, camera, channels, peer)


def _measured(case: str, splats: Splats, camera: Camera, channels: int, peer: RasterPeer | None) -> Iterator[Measurement]:
    ours = _our_stages(splats, camera, CHANNELS[channels])
    theirs = {} if peer is None else _peer_stages(peer.job(splats, camera, channels))
    ms = interleaved_ms({**ours, **{f"peer {name}": call for name, call in theirs.items()}}, _REPEATS, _WARM_UP)
    for name in ours:
        yield speed("raster", f"{name} {case}", ms[name], ms.get(f"peer {name}"), _TOLERANCE)


def _our_stages(splats: Splats, camera: Camera, channels: frozenset[Channel]) -> Stages:
    drawn_fields = [name for name in GRADIENTS if name != "logits" or Channel.LOGITS in channels]
    leaves = Splats(**{name: getattr(splats, name).detach().clone().requires_grad_() for name in GRADIENTS})
    rendering = rasterize(leaves, camera, channels, cull_backfaces=True)
    outputs = [getattr(rendering, name) for name in _PICTURES if getattr(rendering, name) is not None]
    inputs, gradients = [getattr(leaves, name) for name in drawn_fields], [torch.ones_like(picture) for picture in outputs]
    values = {name: getattr(splats, name).numpy() for name in GRADIENTS}
    geometry = values["means"], values["quats"], values["scales"], values["opacities"]
    logits = values["logits"] if Channel.LOGITS in channels else values["logits"][:, :0]

    def project():
        extras = Channel.NORMAL in channels, Channel.DEPTH in channels
        return put_on_screen(geometry, values["colors"], np.ascontiguousarray(logits), camera, *extras, cull_backfaces=True)

    screen = project()
    tiling = tile_screen(screen)
    pictures, drawn = composite(screen, tiling)
    ones = [np.ones_like(picture) if picture.size else None for picture in pictures]
    return {
        "projection": project,
        "tiling": lambda: tile_screen(screen),
        "compositing": lambda: composite(screen, tiling),
        "compositing back": lambda: composite_backward(screen, tiling, drawn, ones, geometry=True),
        "forward": lambda: rasterize(leaves, camera, channels, cull_backfaces=True),
        "backward": lambda: torch.autograd.grad(outputs, inputs, gradients, retain_graph=True),
    }


def _peer_stages(job: PeerJob) -> Stages:
    pictures = job.forward()
    ones = {name: np.ones_like(picture) for name, picture in pictures.items()}
    return {
        "projection": job.project,
        "tiling": job.tile,
        "compositing": job.composite,
        "compositing back": lambda: job.composite_backward(pictures, ones),
        "forward": job.forward,
        "backward": lambda: job.backward(pictures, ones),
    }
