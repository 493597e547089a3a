#!/usr/bin/env python3
"""Makes a copy of an avatar_gt/1 sequence whose train maps are as wrong as a foundation model's; the test splits stay true.

    python scripts/degrade_maps.py SEQUENCE OUT
    fmgs eval OUT --priors true

A folder and not an option of the evaluation, so that a fit meets such maps by the same commands as any other. The same command
gives the same bytes.
"""

import argparse
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fmgs_core.mapfiles import read_maps, write_depth, write_labels, write_mask, write_normal
from fmgs_core.stream.sequence import Sequence
from fmgs_core.types import PriorMaps

# A boundary moves by the component x of the displacement along its normal: E|x| = sigma * sqrt(2 / pi) for a Gaussian x.
_MEAN_OF_HALF_NORMAL = float(np.sqrt(2 / np.pi))
_MIN_FACING = 1e-3


@dataclass(frozen=True)
class DegradationConfig:
    """How wrong. The normals' default is what Sapiens v1 is said to reach (13.6 degrees of mean error for its 1B model)."""

    normal_deg: float = 13.0
    """Mean angle [degrees] by which normals are turned, in every frame."""
    depth_share: float = 0.03
    """Standard deviation of the depth's smooth error as a share of the person's depth range, before the curve."""
    label_px: float = 3.0
    """Mean distance by which boundaries between classes are moved along their normals."""
    mask_px: float = 1.0
    """The same for the mask's edge."""
    correlation_px: float = 20.0
    """Distance at which the errors' correlation has fallen to 1 / e."""
    seed: int = 0

    def __post_init__(self):
        for name in ("normal_deg", "depth_share", "label_px", "mask_px"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"DegradationConfig.{name}: expected zero or more, got {getattr(self, name)}")
        if not self.correlation_px >= 1:
            raise ValueError(f"DegradationConfig.correlation_px: expected at least 1, got {self.correlation_px}")


def degraded(maps: PriorMaps, config: DegradationConfig, rng: np.random.Generator) -> PriorMaps:
    """Maps with smooth errors; those that are None stay None. Errors of two frames are independent."""
    return replace(
        maps,
        mask=None if maps.mask is None else displaced_mask(maps.mask, config, rng),
        normal=None if maps.normal is None else turned_normals(maps.normal, config, rng),
        depth=None if maps.depth is None else relative_depth(maps.depth, config, rng),
        labels=None if maps.labels is None else displaced_labels(maps.labels, config, rng),
    )


def turned_normals(
    normal: Float[np.ndarray, "h w 3"], config: DegradationConfig, rng: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """Unit normals turned about tangents that vary smoothly, by `normal_deg` in the mean; none faces away from the camera."""
    known = normal.any(-1)
    if not known.any():
        return normal
    n = normal[known].astype(np.float64)
    u = np.cross(n, (0.0, 1.0, 0.0))
    u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-9)
    error = smooth_noise(known.shape, 2, config.correlation_px, rng)[known].astype(np.float64)
    size = np.linalg.norm(error, axis=1)
    angle = size * (np.radians(config.normal_deg) / max(size.mean(), 1e-12))
    tangent = (error[:, :1] * u + error[:, 1:] * np.cross(n, u)) / np.maximum(size, 1e-12)[:, None]
    turned = np.cos(angle)[:, None] * n + np.sin(angle)[:, None] * tangent
    # Mirrored and not clamped at the outline: a clamp would take a degree off the mean.
    turned[:, 2] = -np.maximum(np.abs(turned[:, 2]), _MIN_FACING)
    out = np.zeros_like(normal)
    out[known] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    return out


def relative_depth(
    depth: Float[np.ndarray, "h w"], config: DegradationConfig, rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    """Depth of unknown scale, offset and curve, so that nothing but its order can be used, and that with errors.

    Values lie between 0.5 and 5.5, so that they can be stored as metres.
    """
    known = np.isfinite(depth)
    noise = smooth_noise(depth.shape, 1, config.correlation_px, rng)[..., 0]
    exponent, scale, offset = np.exp(rng.uniform(-0.5, 0.5)), rng.uniform(0.3, 2.0), rng.uniform(1.0, 3.0)
    if not known.any():
        return depth
    low, high = depth[known].min(), depth[known].max()
    share = (depth - low) / max(float(high - low), 1e-6) + config.depth_share * noise
    return (offset + scale * np.sign(share) * np.abs(share) ** exponent).astype(np.float32)


def displaced_labels(
    labels: UInt8[np.ndarray, "h w"], config: DegradationConfig, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w"]:
    """Classes whose boundaries, the person's outline among them, wander by `label_px`."""
    return _displaced(labels, config.label_px, config.correlation_px, rng, cv2.INTER_NEAREST)


def displaced_mask(
    mask: Float[np.ndarray, "h w"], config: DegradationConfig, rng: np.random.Generator
) -> Float[np.ndarray, "h w"]:
    return _displaced(mask, config.mask_px, config.correlation_px, rng, cv2.INTER_LINEAR)


def smooth_noise(
    shape: tuple[int, ...], channels: int, correlation_px: float, rng: np.random.Generator
) -> Float[np.ndarray, "h w c"]:
    """Gaussian noise of mean 0 and variance 1 whose correlation is exp(-(d / correlation_px)^2) at distance d."""
    # White noise filtered by exp(-x^2 / 2 s^2) has the correlation exp(-d^2 / 4 s^2).
    sigma = correlation_px / 2
    reach = int(np.ceil(3 * sigma))
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    window /= np.sqrt((window**2).sum())
    white = rng.normal(size=(shape[0] + 2 * reach, shape[1] + 2 * reach, channels)).astype(np.float32)
    smooth = cv2.sepFilter2D(white, cv2.CV_32F, window, window).reshape(*white.shape)
    return smooth[reach:-reach, reach:-reach]


def _displaced(
    values: np.ndarray, mean_px: float, correlation_px: float, rng: np.random.Generator, interpolation: int
) -> np.ndarray:
    """Values read where smooth displacements point, whose component along any direction has the mean size `mean_px`."""
    shift = smooth_noise(values.shape, 2, correlation_px, rng) * np.float32(mean_px / _MEAN_OF_HALF_NORMAL)
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]].astype(np.float32)
    return cv2.remap(values, columns + shift[..., 0], rows + shift[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE)


@dataclass(frozen=True)
class Errors:
    """What was done to a sequence's maps, read back from its files: means over the frames."""

    normal_deg: float
    order_kept: float
    """Share of random pairs of pixels on the person, at least 5 cm apart in depth, that keep their order."""
    mask_iou: float
    labels_right: float
    """Share of the person's pixels with their true class."""


def degrade_sequence(source: Path, out: Path, config: DegradationConfig) -> Errors:
    """Copies a sequence and degrades the train maps of the copy.

    Raises:
        ValueError: `source` is not such a sequence, or `out` exists already.
    """
    if out.exists():
        raise ValueError(f"out: expected a folder that does not exist yet, got {out}")
    count = len(Sequence(source).split("train"))
    shutil.copytree(source, out)
    rows = []
    for index in range(count):
        rng = np.random.default_rng([config.seed, index])
        true = read_maps(source / "train", index)
        _write(out / "train", index, degraded(true, config, rng))
        rows.append(_errors(read_maps(out / "train", index), true, rng))
    return Errors(*np.nanmean(rows, axis=0).tolist())


def _write(folder: Path, index: int, maps: PriorMaps) -> None:
    name = f"{index:06d}.png"
    if maps.mask is not None:
        write_mask(folder / "mask" / name, maps.mask)
    if maps.normal is not None:
        write_normal(folder / "normal" / name, maps.normal, maps.normal.any(-1))
    if maps.depth is not None:
        write_depth(folder / "depth" / name, maps.depth)
    if maps.labels is not None:
        write_labels(folder / "label" / name, maps.labels)


def _errors(got: PriorMaps, true: PriorMaps, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """In the order of Errors; NaN for what the frame has no map of."""
    return _normal_deg(got, true), _order_kept(got, true, rng), _mask_iou(got, true), _labels_right(got, true)


def _normal_deg(got: PriorMaps, true: PriorMaps) -> float:
    if got.normal is None or true.normal is None:
        return float("nan")
    known = true.normal.any(-1)
    cosine = (got.normal[known].astype(np.float64) * true.normal[known]).sum(-1)
    return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())


def _order_kept(got: PriorMaps, true: PriorMaps, rng: np.random.Generator, pairs: int = 4000, apart_m: float = 0.05) -> float:
    if got.depth is None or true.depth is None:
        return float("nan")
    first, second = rng.choice(np.flatnonzero(np.isfinite(true.depth)), (2, pairs))
    before, after = (d.ravel()[first] - d.ravel()[second] for d in (true.depth, got.depth))
    apart = np.abs(before) > apart_m
    return float((np.sign(before) == np.sign(after))[apart].mean())


def _mask_iou(got: PriorMaps, true: PriorMaps) -> float:
    if got.mask is None or true.mask is None:
        return float("nan")
    a, b = got.mask > 0.5, true.mask > 0.5
    return float((a & b).sum() / max((a | b).sum(), 1))


def _labels_right(got: PriorMaps, true: PriorMaps) -> float:
    if got.labels is None or true.labels is None:
        return float("nan")
    person = true.labels > 0
    return float((got.labels == true.labels)[person].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequence", type=Path, help="folder of an avatar_gt/1 sequence")
    parser.add_argument("out", type=Path, help="folder of the copy; must not exist")
    parser.add_argument("--seed", type=int, default=DegradationConfig.seed)
    arguments = parser.parse_args()
    errors = degrade_sequence(arguments.sequence, arguments.out, DegradationConfig(seed=arguments.seed))
    print(f"{arguments.out}: mean angle of the normals' error {errors.normal_deg:.2f} degrees")
    print(f"order kept by {errors.order_kept:.1%} of pairs of depths 5 cm apart, mask IoU {errors.mask_iou:.3f}")
    print(f"true class on {errors.labels_right:.1%} of the person's pixels")


if __name__ == "__main__":
    main()
