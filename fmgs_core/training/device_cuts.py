"""What of a frame's maps is kept of a keyframe, where the maps are tensors already: nothing takes the way through the host."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from fmgs_core.priors import DeviceMaps
from fmgs_core.training.cuts import Cut, KnownMaps, check_maps
from fmgs_core.training.targets import KnownPixels


def known_device_maps(maps: DeviceMaps, cut: Cut, person: Bool[Tensor, "h w"], num_classes: int) -> KnownMaps:
    """The same pixels and values as `known_maps` gives, on the device of `person`.

    Raises:
        ValueError: as known_maps.
    """
    check_maps(maps, cut.frame_size)
    rows, columns = (torch.from_numpy(i).to(person.device) for i in sampled(cut))

    def inside(values: Shaped[Tensor, "H W *c"] | None) -> Shaped[Tensor, "h w *c"] | None:
        return None if values is None else values.to(person.device).index_select(0, rows).index_select(1, columns)

    normal, depth, labels, trust = inside(maps.normal), inside(maps.depth), inside(maps.labels), maps.geometry_trust
    return KnownMaps(
        normal=None if normal is None else _known(normal.half(), person & (normal.square().sum(-1) > 0.25), trust),
        depth=None if depth is None else _known(depth.float(), person & depth.isfinite(), trust),
        labels=None if labels is None else _known(labels, person & (labels < num_classes), trust),
    )


def sampled(cut: Cut) -> tuple[Int[np.ndarray, " h"], Int[np.ndarray, " w"]]:
    """Rows and columns of the frame that a cut takes its values from. OpenCV says which, by sampling their numbers."""
    x0, y0, x1, y1 = cut.box
    width, height = cut.size
    rows = cv2.resize(np.arange(y0, y1, dtype=np.float32)[:, None], (1, height), interpolation=cv2.INTER_NEAREST_EXACT)
    columns = cv2.resize(np.arange(x0, x1, dtype=np.float32)[None], (width, 1), interpolation=cv2.INTER_NEAREST_EXACT)
    return rows.ravel().astype(np.int64), columns.ravel().astype(np.int64)


def _known(values: Shaped[Tensor, "h w *c"], known: Bool[Tensor, "h w"], trust: float) -> KnownPixels | None:
    """Asks the device how many there are: once for each map, and not at every step."""
    pixels = known.flatten().nonzero().flatten()
    return KnownPixels(pixels.int(), values.flatten(0, 1).index_select(0, pixels), trust) if len(pixels) else None
