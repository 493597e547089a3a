"""`make bench`: milliseconds of every stage of the online fit on this machine, on the default body at its usual size.

Each row is the median of repeated calls after a warm-up. Machines are shared and noisy: compare rows of one run with each
other, not with another day's.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command `fmgs` runs

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from fmgs_core.avatar.model import Avatar
from fmgs_core.body.default import default_body
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_vertices
from fmgs_core.body.template import BodyModel
from fmgs_core.priors.mediapipe import MediaPipePrior
from fmgs_core.priors.template import template_maps
from fmgs_core.raster import rasterize
from fmgs_core.rendering.pictures import draw
from fmgs_core.session.warmup import standing_frames
from fmgs_core.tracking.tracker import BodyTracker
from fmgs_core.training.routing import as_leaves
from fmgs_core.training.ssim import ssim
from fmgs_core.training.trainer import Trainer, TrainerConfig
from fmgs_core.types import BodyState, Camera, Channel, Frame, PriorMaps

SIZE_PX = 512
REPEATS, WARM_UP = 30, 5


def median_ms(call: Callable[[], object]) -> float:
    """Of REPEATS calls after WARM_UP."""
    times = []
    for i in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        call()
        if i >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def stages(body: BodyModel, frame: Frame, maps: PriorMaps, state: BodyState) -> Iterator[tuple[str, Callable[[], object]]]:
    """Name and call of every stage, in the order of the pipeline."""
    camera = frame.camera
    avatar = Avatar(body)
    prior, tracker = MediaPipePrior(), BodyTracker(body)
    yield "prior: MediaPipe, nobody in the picture", lambda: prior.predict(frame)
    yield "tracker", lambda: tracker.update(frame, maps)
    yield "template maps", lambda: template_maps(body, state, camera)
    yield "mesh z-buffer", lambda: draw_mesh(posed_vertices(body, state), body.faces, camera)
    yield from _drawing(avatar, state, camera)
    for refine in (False, True):
        trainer = Trainer(Avatar(body), TrainerConfig(refine_pose=refine))
        trainer.add(frame, maps, state)
        trainer.schedule.keyframes_seen = 1000  # everything may learn
        yield f"training step, poses {'learned' if refine else 'fixed'}", trainer.step


def _drawing(avatar: Avatar, state: BodyState, camera: Camera) -> Iterator[tuple[str, Callable[[], object]]]:
    color, labels = frozenset({Channel.RGB}), frozenset({Channel.RGB, Channel.LOGITS})
    yield "posing", lambda: avatar.drawn(state)
    yield "render colour", lambda: draw(avatar, state, camera, color)
    yield "render colour, labels", lambda: draw(avatar, state, camera, labels)
    yield "render everything", lambda: draw(avatar, state, camera, frozenset(Channel))
    splats = avatar.drawn(state)

    def forward_backward() -> None:
        leaves = as_leaves(splats)
        rendering = rasterize(leaves, camera, color, cull_backfaces=True)
        assert rendering.rgb is not None
        torch.autograd.grad(rendering.rgb.sum() + rendering.alpha.sum(), [leaves.means, leaves.colors])

    yield "raster colour, forward and backward", forward_backward
    a, b = torch.rand(SIZE_PX, SIZE_PX, 3, requires_grad=True), torch.rand(SIZE_PX, SIZE_PX, 3)
    yield "SSIM, forward and backward", lambda: ssim(a, b).sum().backward()


def main() -> None:
    torch.set_num_threads(1)
    body = default_body()
    frames, state = standing_frames(body, SIZE_PX)
    frame, maps = frames[0]
    table = Table("stage", "ms", "per second", box=None)
    for name, call in stages(body, frame, maps, state):
        ms = median_ms(call)
        table.add_row(name, f"{ms:.2f}", f"{1e3 / ms:.1f}")
    share = float(np.mean(maps.mask > 0.5)) if maps.mask is not None else 0.0
    Console().print(f"{SIZE_PX} x {SIZE_PX} px, the body covers {share:.0%}; {os.cpu_count()} cores")
    Console().print(table)


if __name__ == "__main__":
    main()
