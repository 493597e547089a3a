"""Drawing of 2D Gaussians, differentiable in every splat parameter. Backends with one meaning: `reference`, `cpu`, `cuda`."""

from fmgs_core.raster.inputs import check_camera, check_channels, check_splats
from fmgs_core.types import Camera, Channel, Rendering, Splats

BACKENDS = ("reference", "cpu", "cuda")

__all__ = ["BACKENDS", "rasterize"]


def rasterize(
    splats: Splats,
    camera: Camera,
    channels: frozenset[Channel] | set[Channel] = frozenset({Channel.RGB}),
    *,
    backend: str = "cpu",
    cull_backfaces: bool = False,
) -> Rendering:
    """What the camera sees of the splats; `Rendering` says what each output means.

    A splat's weight at a pixel is exp(-min(u^2 + v^2, 2 |p - c|^2) / 2), with (u, v) the ray-splat intersection in
    standard deviations, p the pixel centre and c the projected splat centre [px] (2DGS, arXiv 2403.17888, eq. 8 to 11);
    alpha is opacity times weight. Splats are composited front to back by the camera z of their centres, ties in the order
    given. Thresholds are those of constants.py. Two points where published rasterizers differ:

    - An intersection behind the near plane gives no weight; the low-pass around the projected centre remains.
    - Depth is that of the splat's plane on the pixel's ray. Where the ray passes by the splat and only the low-pass
      reaches it, that depth is clamped to the depth range of the splat's support; the bound counts as a constant.

    Splats contribute nothing and get zero gradient when their centre is behind the near plane, their opacity is under
    1/255, or a parameter that is used is NaN, infinite, over 1e6 in magnitude, a scale under 1e-7 m or a quaternion of no
    length. Opacities above 1 count as 1, without gradient.

    Args:
        splats: float32, on the CPU for backend "cpu" and on a GPU for "cuda"; any floating type and device for "reference".
        channels: outputs beside alpha.
        backend: "cpu" (numba; compiles for some seconds at its very first use, then comes from numba's cache), "cuda"
            (gsplat 1.5.3 on an NVIDIA GPU; compiles for minutes at its very first use) or "reference" (plain torch; it
            judges the others, and takes time and memory in proportion to splats x pixels).
        cull_backfaces: drop splats whose normal points away from the camera.

    The gradient of "cpu" is bit-identical for the same input on the same number of threads. It may be asked for several
    times with retain_graph=True; outputs without an incoming gradient cost nothing, and neither does the geometry when
    only colours or logits are asked for. It cannot be differentiated twice.

    "cuda" differs, because gsplat's kernel does:

    - A pixel ends before the splat that would bring its transmittance to 1e-4, where the others end behind it: behind a
      transmittance T a splat of alpha over 1 - 1e-4 / T is missing, so up to T = 0.1 of the background shows at alpha 0.999.
    - Depth is linear in the pixel within a splat, which leaves out (depth range of the splat)^2 / depth: 0.3 mm three
      standard deviations of 1 cm off the centre, at 3 m. The clamp of splats under a pixel becomes a smaller slope.
    - Splats whose support reaches behind the near plane are dropped.
    - Gradients are summed in no fixed order, so their last bits change from call to call; they cannot be differentiated
      twice either. The host waits for the device once in each direction.

    Raises:
        ValueError: shapes, types, camera, channels or backend that do not fit.
        RuntimeError, ImportError: backend "cuda" without a GPU, without gsplat or where its CUDA code cannot be compiled.
    """
    channels = check_channels(channels)
    check_camera(camera)
    check_splats(splats, channels)
    if backend == "reference":
        from fmgs_core.raster.reference import rasterize_reference

        return rasterize_reference(splats, camera, channels, cull_backfaces)
    if backend == "cpu":
        from fmgs_core.raster.cpu import rasterize_cpu

        return rasterize_cpu(splats, camera, channels, cull_backfaces)
    if backend == "cuda":
        from fmgs_core.raster.cuda import rasterize_cuda

        return rasterize_cuda(splats, camera, channels, cull_backfaces)
    raise ValueError(f"backend: expected one of {BACKENDS}, got {backend!r}")
