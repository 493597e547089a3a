"""The rasterizer on a CPU, differentiable: the stages of drawing.py joined to torch autograd. Meaning: see `rasterize`."""

import numpy as np
import torch
from torch import Tensor

from fmgs_core.raster.drawing import (
    Geometry,
    Screen,
    composite,
    composite_backward,
    put_on_screen,
    splats_backward,
    sum_pairs,
    tile_screen,
)
from fmgs_core.raster.tiles import Tiling
from fmgs_core.types import Camera, Channel, Rendering, Splats


def rasterize_cpu(splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> Rendering:
    """`rasterize` by numba; see there.

    Raises:
        ValueError: splats that are not float32 on the CPU.
    """
    if splats.means.dtype != torch.float32 or splats.means.device.type != "cpu":
        raise ValueError(f"Splats: backend 'cpu' expected float32 on cpu, got {splats.means.dtype} on {splats.means.device}")
    absent = splats.means.new_empty((len(splats.means), 0))
    colors = splats.colors if Channel.RGB in channels else absent
    logits = splats.logits if Channel.LOGITS in channels and splats.logits is not None else absent
    geometry = splats.means, splats.quats, splats.scales, splats.opacities
    screen = put_on_screen(
        _geometry(*geometry), _array(colors), _array(logits), camera,
        Channel.NORMAL in channels, Channel.DEPTH in channels, cull_backfaces,
    )  # fmt: skip
    tiling = tile_screen(screen)
    rows = _Project.apply(*geometry, screen, tiling)
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in (rows, colors, logits))
    alpha, *rest = _Composite.apply(rows, colors, logits, screen, tiling, differentiable)
    return Rendering(alpha, **dict(zip(("rgb", "depth", "normal", "logits"), rest, strict=True)))


class _Project(torch.autograd.Function):
    """Joins the splats to the screen-space rows of those that are seen, which are worked out before."""

    @staticmethod
    def forward(ctx, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, screen: Screen, tiling: Tiling) -> Tensor:
        ctx.save_for_backward(means, quats, scales, opacities)
        ctx.screen, ctx.tiling = screen, tiling
        # Nobody reads the values: what counts is the shape of their gradient.
        return torch.from_numpy(screen.rows)[: len(tiling.seen)]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_rows):
        grads = splats_backward(_geometry(*ctx.saved_tensors), ctx.screen, ctx.tiling, _array(grad_rows))
        return *map(torch.from_numpy, grads), None, None


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, colors, logits, screen, tiling, differentiable):
        ctx.set_materialize_grads(False)
        drawn_pictures, drawn = composite(screen, tiling)
        pictures = [torch.from_numpy(picture) if picture.size else None for picture in drawn_pictures]
        if differentiable:
            ctx.screen, ctx.tiling, ctx.drawn = screen, tiling, drawn
            # `drawn` has them too; saved, so that autograd notices when somebody changes them in place.
            ctx.save_for_backward(pictures[2], pictures[3])
        return tuple(pictures)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grad_pictures):
        _ = ctx.saved_tensors  # the check
        # needs_input_grad knows which inputs may need a gradient, not which this call of autograd.grad asks for; the engine
        # does, for inner nodes (torch.autograd.graph uses the same function), and the projection is one.
        geometry = ctx.needs_input_grad[0] and torch._C._will_engine_execute_node(ctx.next_functions[0][0])
        grads = [None if g is None else _array(g) for g in grad_pictures]
        found = sum_pairs(ctx.screen, ctx.tiling, composite_backward(ctx.screen, ctx.tiling, ctx.drawn, grads, geometry))
        wanted = zip(found, ctx.needs_input_grad, strict=False)
        return *(torch.from_numpy(g) if need and g.size else None for g, need in wanted), None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's values, C-contiguous; a view where it already is."""
    return tensor.detach().contiguous().numpy()


def _geometry(means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor) -> Geometry:
    return _array(means), _array(quats), _array(scales), _array(opacities)
