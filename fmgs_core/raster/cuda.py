"""The rasterizer on an NVIDIA GPU: gsplat 1.5.3's 2DGS kernel between torch expressions. Meaning: `rasterize`.

Of gsplat only the sorting into tiles and the compositing are used. Its projection drops the skew of K, centres the low-pass on
the splat's bounding box instead of the projected centre, and crops boxes to one pixel where the low-pass reaches 2.4.

Two things make the host wait for the device: `isect_tiles` reads back how long its lists are, and the backward pass of
`rasterize_to_pixels_2dgs` ends with torch.cuda.synchronize(). Nothing here adds to them.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fmgs_core.raster.reference import normalised
from fmgs_core.raster.screen import ScreenSplats, blended_depth, screen_splats
from fmgs_core.types import Camera, Channel, Rendering, Splats

_TILE = 16

# Kernels exist for these numbers of colours. gsplat pads other numbers itself, but with torch.empty: a NaN there would reach
# every gradient. Beyond 32 a backward tile asks for more shared memory than the 48 KiB every GPU grants, and spills registers.
_COLOR_COUNTS = (1, 2, 3, 4, 8, 16, 32)

# gsplat blends three more numbers as "normals", exactly as it does colours.
_NORMALS = 3


def rasterize_cuda(splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> Rendering:
    """`rasterize` by gsplat; see there.

    Raises:
        RuntimeError: no GPU, or no compiler for gsplat's CUDA code.
        ImportError: gsplat is missing, or its CUDA code cannot be compiled.
        ValueError: splats that are not float32 on a GPU.
    """
    gsplat = load_gsplat()
    if splats.means.dtype != torch.float32 or not splats.means.is_cuda:
        raise ValueError(f"Splats: backend 'cuda' expected float32 on cuda, got {splats.means.dtype} on {splats.means.device}")
    return draw(gsplat, splats, camera, channels, cull_backfaces)


@cache
def load_gsplat() -> Any:
    """The package with its CUDA code, which it compiles into torch's cache of extensions where that holds none: minutes.

    Raises:
        RuntimeError, ImportError: as `rasterize_cuda`.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("backend 'cuda' needs an NVIDIA GPU, and torch sees none: `fmgs doctor` says why")
    try:
        import gsplat  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("backend 'cuda' needs gsplat 1.5.3: pip install fmgs_ros[gpu]", name="gsplat") from missing
    needs = f"nvcc of CUDA {torch.version.cuda}, ninja and a C++ compiler: `fmgs doctor` says what is missing"
    try:
        backend = import_module("gsplat.cuda._backend")
    except (ImportError, OSError) as error:
        raise ImportError(f"gsplat's CUDA code was not compiled ({error}); that takes {needs}") from error
    if backend._C is None:
        raise RuntimeError(f"gsplat's CUDA code is not compiled, and there is no nvcc; that takes {needs}")
    return gsplat


def compile_gsplat(on_message: Callable[[str], None], num_classes: int) -> None:
    """Compiles gsplat where this machine has not yet, and draws one splat forward and backward. Call before a stream starts.

    Args:
        on_message: told what is about to happen, once.
        num_classes: channels of the logits that will be drawn; the kernels of their number are loaded too.

    Raises:
        RuntimeError, ImportError: as `rasterize_cuda`.
    """
    on_message("loading gsplat (it is compiled when this machine has never run it, which takes minutes)")
    gsplat = load_gsplat()
    row = torch.full((1, 4), 0.1, device="cuda", requires_grad=True)
    splats = Splats(row[:, :3] + 1, row, row[:, :2], row[:, 0], row[:, :3], row[:, :1].expand(1, num_classes))
    camera = Camera(np.diag([1.0, 1.0, 1.0]), _TILE, _TILE, np.eye(4))
    drawn = draw(gsplat, splats, camera, frozenset(Channel), False)
    pictures = [p for p in vars(drawn).values() if p is not None]
    torch.autograd.grad(torch.cat([p.nan_to_num().flatten() for p in pictures]).sum(), row)


def draw(gsplat: Any, splats: Splats, camera: Camera, channels: frozenset[Channel], cull_backfaces: bool) -> Rendering:
    """`rasterize_cuda` on whatever device `gsplat` (the package, or what stands in for it) works."""
    seen = screen_splats(splats, camera, channels, cull_backfaces)
    alpha, blended = _composite(gsplat, seen, camera.width, camera.height)
    depth = blended_depth(blended[..., -3:]) if Channel.DEPTH in channels else None
    return normalised(alpha, blended[..., : -3 if depth is not None else None], depth, channels)


def _composite(gsplat: Any, seen: ScreenSplats, width: int, height: int) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w F"]]:
    """Alpha and blended features."""
    if not len(seen.depths):  # gsplat's launches do not all allow for it
        return seen.features.new_zeros(height, width), seen.features.sum(0).expand(height, width, -1)
    columns, rows = math.ceil(width / _TILE), math.ceil(height / _TILE)
    boxes = (t[None] for t in (seen.box_centres, seen.box_radii, seen.depths))
    _, keys, members = gsplat.isect_tiles(*boxes, _TILE, columns, rows)
    starts = gsplat.isect_offset_encode(keys, 1, columns, rows)
    unused = torch.zeros_like(seen.centres)
    blended, alpha = [], seen.opacities
    for k, (colors, normals) in enumerate(_packed(seen.features)):
        by_splat = (t[None] for t in (seen.centres, seen.ray_transforms, colors, seen.opacities, normals, unused))
        drawn = gsplat.rasterize_to_pixels_2dgs(*by_splat, width, height, _TILE, starts, members)
        blended += [drawn[0][0], drawn[2][0]]
        alpha = drawn[1][0, ..., 0] if k == 0 else alpha
    return alpha, torch.cat(blended, -1)[..., : seen.features.shape[1]]


def _packed(features: Float[Tensor, "N F"]) -> Iterator[tuple[Float[Tensor, "N C"], Float[Tensor, "N 3"]]]:
    """The features as colours and "normals" of as few calls as hold them; the last call is filled up with zeros."""
    for part in features.split(_COLOR_COUNTS[-1] + _NORMALS, -1):
        count = next(n for n in _COLOR_COUNTS if n + _NORMALS >= part.shape[1])
        padded = torch.nn.functional.pad(part, (0, count + _NORMALS - part.shape[1]))
        yield padded[:, :count], padded[:, count:]
