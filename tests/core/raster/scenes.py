"""Scenes that the rasterizer's tests share, and what they compare."""

import numpy as np
import torch
from torch import Tensor

from fmgs_core.geometry import look_at
from fmgs_core.raster import rasterize
from fmgs_core.raster.constants import ALPHA_MAX, ALPHA_MIN, TRANSMITTANCE_MIN
from fmgs_core.raster.reference import blending_weights, camera_splats, intersect
from fmgs_core.types import Camera, Channel, Rendering, Splats

FIELDS = ("means", "quats", "scales", "opacities", "colors", "logits")
IMAGES = ("alpha", "rgb", "depth", "normal", "logits")
EVERYTHING = frozenset(Channel)
CPU_BACKENDS = ("reference", "cpu")
"""Those that every machine has."""


def camera(width: int = 43, height: int = 37, focal: float = 60.0, eye: tuple[float, float, float] = (0.3, 0.4, 2.0)) -> Camera:
    """A camera with unequal focal lengths, skew and a principal point off the centre that looks at the origin."""
    K = np.array([[focal, 0.7, 0.51 * width], [0, 1.1 * focal, 0.47 * height], [0, 0, 1]])
    return Camera(K, width, height, look_at(np.array(eye), np.zeros(3)))


def random_splats(
    n: int, seed: int = 0, classes: int = 5, size: tuple[float, float] = (0.02, 0.17), spread: float = 0.5
) -> Splats:
    """Splats of every orientation, shape and opacity in a cube about the origin; quaternions not normalised."""
    g = torch.Generator().manual_seed(seed)
    low, high = size
    return Splats(
        means=spread * (2 * torch.rand(n, 3, generator=g) - 1),
        quats=torch.randn(n, 4, generator=g),
        scales=low + (high - low) * torch.rand(n, 2, generator=g) ** 2,
        opacities=0.02 + 0.97 * torch.rand(n, generator=g),
        colors=torch.rand(n, 3, generator=g),
        logits=torch.randn(n, classes, generator=g),
    )


def leaves(splats: Splats, dtype: torch.dtype = torch.float32) -> Splats:
    """A copy of the same values whose every tensor wants a gradient."""
    return Splats(**{name: getattr(splats, name).detach().to(dtype).clone().requires_grad_() for name in FIELDS})


def with_rows(splats: Splats, **changes: tuple[int, object]) -> Splats:
    """A copy in which field[row] = value for every `field=(row, value)`."""
    tensors = {name: getattr(splats, name).clone() for name in FIELDS}
    for name, (row, value) in changes.items():
        tensors[name][row] = torch.as_tensor(value)
    return Splats(**tensors)


def safe_pixels(splats: Splats, camera: Camera, channels: frozenset[Channel] = EVERYTHING, culled: bool = False) -> Tensor:
    """Pixels (h, w) at which no splat sits so near a threshold that rounding decides whether it contributes."""
    double = Splats(**{name: getattr(splats, name).detach().double() for name in FIELDS})
    seen = camera_splats(double, camera, channels, culled)
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    exponent, _ = intersect(seen, (torch.stack([x, y], -1).reshape(-1, 2) + 0.5).double())
    alpha = seen.opacities[:, None] * torch.exp(-exponent)
    weight = blending_weights(alpha.clamp(max=ALPHA_MAX))
    before = torch.where(weight > 0, weight / alpha.clamp(max=ALPHA_MAX), 1.0)
    risky = ((alpha / ALPHA_MIN - 1).abs() < 1e-3) | ((alpha / ALPHA_MAX - 1).abs() < 1e-4)
    # The transmittance behind a contributor decides on the next one.
    behind = before - weight
    risky |= ((behind / TRANSMITTANCE_MIN - 1).abs() < 1e-2) | ((before / TRANSMITTANCE_MIN - 1).abs() < 1e-2)
    return ~risky.any(0).reshape(camera.height, camera.width)


def random_gradients(rendering: Rendering, safe: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """A random output gradient per picture, zero where thresholds are near."""
    g = torch.Generator().manual_seed(seed)
    drawn = {}
    for name in IMAGES:
        image = getattr(rendering, name)
        if image is not None:
            drawn[name] = torch.randn(image.shape, generator=g) * safe.reshape(safe.shape + (1,) * (image.ndim - 2))
    return drawn


def gradients(rendering: Rendering, splats: Splats, grads: dict[str, Tensor], retain: bool = False) -> dict[str, Tensor]:
    """dL/dsplats for given dL/dimages; zeros where a field has no part in them."""
    images = [getattr(rendering, name) for name in grads]
    inputs = [getattr(splats, name) for name in FIELDS]
    outputs = [g.to(i) for g, i in zip(grads.values(), images, strict=True)]
    found = torch.autograd.grad(images, inputs, outputs, retain_graph=retain, allow_unused=True, materialize_grads=True)
    return dict(zip(FIELDS, found, strict=True))


def draw(splats: Splats, camera: Camera, channels: frozenset[Channel] = EVERYTHING, **options: object) -> Rendering:
    """`rasterize` on the fast backend."""
    return rasterize(splats, camera, channels, backend="cpu", **options)  # type: ignore[arg-type]
