"""What `rasterize` accepts. Shapes and types are refused here; odd values are dropped splat by splat in the backends."""

import numpy as np
from torch import Tensor

from fmgs_core.types import Camera, Channel, Splats


def check_channels(channels: frozenset[Channel] | set[Channel]) -> frozenset[Channel]:
    """The set as given, frozen.

    Raises:
        ValueError: an element that is not a Channel.
    """
    wrong = [c for c in channels if not isinstance(c, Channel)]
    if wrong:
        raise ValueError(f"channels: expected a set of Channel, got {wrong}")
    return frozenset(channels)


def check_camera(camera: Camera) -> None:
    """
    Raises:
        ValueError: K does not end in (0, 0, 1), or its 2 x 2 part cannot be inverted.
    """
    if not np.array_equal(camera.K[2], [0.0, 0.0, 1.0]) or np.linalg.det(camera.K[:2, :2]) == 0:
        raise ValueError(f"Camera.K: expected an invertible matrix whose last row is 0, 0, 1, got {camera.K.tolist()}")


def check_splats(splats: Splats, channels: frozenset[Channel]) -> None:
    """
    Raises:
        ValueError: a shape, type or device that does not match that of `means`, or logits asked for and absent.
    """
    n = splats.means.shape[0] if splats.means.ndim else 0
    expected = {"means": (n, 3), "quats": (n, 4), "scales": (n, 2), "opacities": (n,), "colors": (n, 3)}
    for name, shape in expected.items():
        _check_tensor(f"Splats.{name}", getattr(splats, name), shape, splats.means)
    if Channel.LOGITS not in channels:
        return
    if splats.logits is None:
        raise ValueError("Splats.logits: expected scores because Channel.LOGITS was asked for, got None")
    if splats.logits.ndim != 2 or splats.logits.shape[1] == 0:
        raise ValueError(f"Splats.logits: expected shape ({n}, C) with C >= 1, got {tuple(splats.logits.shape)}")
    _check_tensor("Splats.logits", splats.logits, (n, splats.logits.shape[1]), splats.means)


def _check_tensor(name: str, value: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(value.shape)}")
    if not value.dtype.is_floating_point:
        raise ValueError(f"{name}: expected floating point, got {value.dtype}")
    if value.dtype != like.dtype or value.device != like.device:
        raise ValueError(f"{name}: expected {like.dtype} on {like.device} like means, got {value.dtype} on {value.device}")
