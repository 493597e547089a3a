"""What an avatar is measured by. Plain functions: pictures, maps or joints in, one number with its unit out.

A value that is not finite inside the measured region is an error that names the picture, never a skipped pixel: a mean
that leaves out the pixels it failed on flatters the method that fails most.
"""

from dataclasses import dataclass
from typing import Any

import flip_evaluator
import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, UInt8
from pytorch_msssim.ssim import gaussian_filter
from torch import Tensor

from fmgs_core.evaluation.mesh_distance import distance_to_mesh, sample_surface

Picture = UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"] | UInt8[Tensor, "h w 3"] | Float[Tensor, "h w 3"]
"""uint8, or floats in [0, 1]; sRGB as stored, no gamma step."""
Mask = Bool[np.ndarray, "h w"] | Float[np.ndarray, "h w"] | Bool[Tensor, "h w"] | Float[Tensor, "h w"]
"""True, or above 0.5, where the person is."""
VectorMap = Float[np.ndarray, "h w 3"] | Float[Tensor, "h w 3"]
ScalarMap = Float[np.ndarray, "h w"] | Float[Tensor, "h w"]
LabelMap = Integer[np.ndarray, "h w"] | Integer[Tensor, "h w"]
Joints = Float[np.ndarray, "*frames J 3"]

NUM_CLASSES = 28
"""Sapiens' class list."""
UNLABELLED = 255
BODY_JOINTS = 22
"""The first joints of SMPL-X order, without jaw, eyes and fingers: the usual set of pose benchmarks."""
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
"""Wang et al. 2004, section III.B."""


def psnr(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio [dB] for a peak of 1; infinite for equal pictures.

    With a mask, the squared error is averaged over the mask's pixels only, so black surroundings buy nothing.
    """
    region = _region(truth, mask)
    a, b = _colours("picture", picture, region), _colours("truth", truth, region)
    mse = float(np.mean((a - b) ** 2))
    return -10.0 * float(np.log10(mse)) if mse > 0 else float("inf")


def ssim(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Structural similarity in [-1, 1], 11 x 11 Gaussian window of sigma 1.5 (Wang et al. 2004).

    The mean of the SSIM map over the pixels, of the mask if there is one, whose window lies inside the picture.
    pytorch-msssim keeps its map to itself, so the map is put together from that library's filter; without a mask the
    number is the library's. Both pictures must be finite everywhere, since windows reach beyond the mask.
    """
    a, b = _whole("picture", picture), _whole("truth", truth)
    _same_shape(a, b)
    if min(a.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"truth: expected a picture of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {b.shape}")
    edge = SSIM_WINDOW // 2
    inside = _not_empty(_region(truth, mask)[edge:-edge, edge:-edge])
    return float(_ssim_map(_batch(a), _batch(b))[0].mean(0).numpy()[inside].mean(dtype=np.float64))


def flip_map(picture: Picture, truth: Picture) -> Float[np.ndarray, "h w"]:
    """LDR-FLIP error in [0, 1] per pixel at the default 67 pixels per degree (Andersson et al. 2020), by flip-evaluator."""
    a, b = _whole("picture", picture), _whole("truth", truth)
    _same_shape(a, b)
    return flip_evaluator.evaluate(b, a, "LDR", applyMagma=False, computeMeanError=False)[0][..., 0]


def flip(picture: Picture, truth: Picture, mask: Mask | None = None) -> float:
    """Mean LDR-FLIP error in [0, 1], smaller is better; with a mask, the mean over the mask's pixels.

    Both pictures must be finite everywhere, since FLIP's filters reach beyond the mask.
    """
    return float(flip_map(picture, truth)[_region(truth, mask)].mean(dtype=np.float64))


def mask_iou(mask: Mask, truth: Mask) -> float:
    """Intersection over union of two masks in [0, 1], both thresholded at 0.5."""
    a, b = _binary("mask", mask), _binary("truth", truth)
    _same_shape(a, b)
    return float((a & b).sum() / (a | _not_empty(b)).sum())


def normal_deg(normal: VectorMap, truth: VectorMap, mask: Mask, true_mask: Mask) -> float:
    """Mean angle [degrees] between two normal maps over the pixels inside both masks; lengths do not matter."""
    region = _both(truth, mask, true_mask)
    a, b = _values("normal", normal, region), _values("truth", truth, region)
    for name, vectors in (("normal", a), ("truth", b)):
        if (zeros := int((np.abs(vectors).sum(-1) == 0).sum())) > 0:
            raise ValueError(f"{name}: expected a direction at every pixel inside both masks, got {zeros} zero vectors")
    # atan2 and not arccos: arccos loses half of the digits at small angles.
    angle = np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))
    return float(np.degrees(angle).mean())


def depth_mm(depth: ScalarMap, truth: ScalarMap, mask: Mask, true_mask: Mask) -> float:
    """Mean absolute difference [mm] of two maps of camera z [m] over the pixels inside both masks."""
    region = _both(truth, mask, true_mask)
    return 1000.0 * float(np.abs(_values("depth", depth, region) - _values("truth", truth, region)).mean())


def miou(labels: LabelMap, truth: LabelMap) -> float:
    """Mean over the classes present in the truth of the intersection over union in [0, 1], background included.

    Pixels that the truth marks 255 (unlabelled) do not count; a predicted 255 counts as wrong.
    """
    predicted, true = _labels("labels", labels), _labels("truth", truth)
    _same_shape(predicted, true)
    known = _not_empty(true != UNLABELLED)
    predicted, true = predicted[known], true[known]
    present = np.unique(true)
    return float(np.mean([((predicted == c) & (true == c)).sum() / ((predicted == c) | (true == c)).sum() for c in present]))


def chamfer_mm(
    vertices: Float[np.ndarray, "V 3"],
    faces: Integer[np.ndarray, "F 3"],
    true_vertices: Float[np.ndarray, "Vt 3"],
    true_faces: Integer[np.ndarray, "Ft 3"],
    samples: int = 20_000,
    seed: int = 0,
) -> float:
    """Mean distance [mm] from points on the true surface to the nearest point of the avatar's triangles (both in m).

    One way only, truth to avatar: the avatar also covers skin that garments hide, which no truth exists for. The
    distance to the triangles is exact; the mean carries the sampling error of `samples` area-uniform points.
    """
    points = sample_surface(true_vertices, true_faces, samples, seed)
    return 1000.0 * float(distance_to_mesh(points, vertices, faces).mean())


def mpjpe_mm(joints: Joints, truth: Joints) -> float:
    """Mean distance [mm] of the 22 body joints [m] after moving joint 0 (pelvis) onto the true one."""
    a, b = _body_joints(joints, truth)
    return _mean_distance_mm(a - a[..., :1, :], b - b[..., :1, :])


def pa_mpjpe_mm(joints: Joints, truth: Joints) -> float:
    """Mean distance [mm] of the 22 body joints [m] after the best similarity transform of each frame (Umeyama 1991)."""
    a, b = _body_joints(joints, truth)
    a, b = a - a.mean(-2, keepdims=True), b - b.mean(-2, keepdims=True)
    U, D, Vt = np.linalg.svd(b.swapaxes(-1, -2) @ a)
    D, U = D.copy(), U.copy()
    # Equation 43: the last direction is mirrored where U Vt would be a reflection.
    sign = np.sign(np.linalg.det(U @ Vt))
    D[..., 2] *= sign
    U[..., 2] *= sign[..., None]
    scale = D.sum(-1) / np.maximum((a**2).sum((-1, -2)), np.finfo(np.float64).tiny)
    return _mean_distance_mm(scale[..., None, None] * a @ (U @ Vt).swapaxes(-1, -2), b)


@dataclass(frozen=True)
class RootError:
    """Mean absolute error of the pelvis position [mm], in the axes that the joints were given in."""

    distance: float
    x: float
    y: float
    z: float


def root_mm(joints: Joints, truth: Joints) -> RootError:
    """Error of joint 0 (pelvis) [mm]: distance, and per axis, of joints given in metres."""
    a, b = _body_joints(joints, truth)
    error = 1000.0 * (a - b)[..., 0, :].reshape(-1, 3)
    return RootError(float(np.linalg.norm(error, axis=-1).mean()), *(float(e) for e in np.abs(error).mean(0)))


def _array(values: np.ndarray | Tensor) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[:2] != b.shape[:2]:
        raise ValueError(f"truth: expected the size of what it is compared with, {a.shape[:2]}, got {b.shape[:2]}")


def _not_empty(region: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    if not region.any():
        raise ValueError(f"mask: expected at least one pixel to measure, got none in {region.shape}")
    return region


def _binary(name: str, mask: Mask) -> Bool[np.ndarray, "h w"]:
    values = _array(mask)
    if values.dtype == bool:
        return values
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite values, got {int((~np.isfinite(values)).sum())} that are not")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"{name}: expected values in [0, 1], got {values.min()} to {values.max()}")
    return values > 0.5


def _region(truth: Any, mask: Mask | None) -> Bool[np.ndarray, "h w"]:
    """Pixels to measure: the mask, or everything."""
    shape = _array(truth).shape[:2]
    region = np.ones(shape, bool) if mask is None else _binary("mask", mask)
    _same_shape(region, _array(truth))
    return _not_empty(region)


def _both(truth: Any, mask: Mask, true_mask: Mask) -> Bool[np.ndarray, "h w"]:
    return _not_empty(_region(truth, mask) & _region(truth, true_mask))


def _values(name: str, picture: Any, region: Bool[np.ndarray, "h w"]) -> np.ndarray:
    """float64 values inside the region; refuses what is not finite there."""
    array = _array(picture)
    _same_shape(region, array)
    values = array[region].astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name}: expected finite values inside the measured region, got {_count_bad(values)} pixels that are not"
        )
    return values


def _count_bad(values: np.ndarray) -> int:
    return int((~np.isfinite(values.reshape(len(values), -1))).any(-1).sum())


def _colours(name: str, picture: Picture, region: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "n 3"]:
    values = _values(name, picture, region)
    if _array(picture).dtype == np.uint8:
        return values / 255.0
    # A rounding error above 1 is clipped; more than that is a picture in other units.
    if values.min() < -1e-4 or values.max() > 1 + 1e-4:
        raise ValueError(
            f"{name}: expected uint8 or colours in [0, 1], got {values.min():.4g} to {values.max():.4g}; clamp first"
        )
    return values.clip(0.0, 1.0)


def _whole(name: str, picture: Picture) -> Float[np.ndarray, "h w 3"]:
    return _colours(name, picture, _region(picture, None)).reshape(_array(picture).shape).astype(np.float32)


def _labels(name: str, labels: LabelMap) -> np.ndarray:
    values = _array(labels)
    wrong = values[(values != UNLABELLED) & ((values < 0) | (values >= NUM_CLASSES))]
    if wrong.size:
        raise ValueError(f"{name}: expected class ids 0 to {NUM_CLASSES - 1} or {UNLABELLED}, got {np.unique(wrong).tolist()}")
    return values


def _batch(picture: Float[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32))


def _ssim_map(a: Float[Tensor, "1 3 h w"], b: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 h2 w2"]:
    """Wang et al. 2004, equation 13, with K1 = 0.01 and K2 = 0.03; only windows that lie inside the picture."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float32) - SSIM_WINDOW // 2
    window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    window = (window / window.sum()).expand(3, 1, 1, SSIM_WINDOW)
    mu_a, mu_b, aa, bb, ab = (gaussian_filter(x, window) for x in (a, b, a * a, b * b, a * b))
    var_a, var_b, cov = aa - mu_a**2, bb - mu_b**2, ab - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    return (2 * mu_a * mu_b + c1) * (2 * cov + c2) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))


def _body_joints(joints: Joints, truth: Joints) -> tuple[np.ndarray, np.ndarray]:
    for name, value in (("joints", joints), ("truth", truth)):
        if value.shape[-2] < BODY_JOINTS or value.shape[:-2] != truth.shape[:-2]:
            expected = f"{[*truth.shape[:-2], f'>= {BODY_JOINTS}', 3]}"
            raise ValueError(f"{name}: expected joints of shape {expected}, got {list(value.shape)}")
        if not np.isfinite(value[..., :BODY_JOINTS, :]).all():
            raise ValueError(
                f"{name}: expected finite joints, got {np.argwhere(~np.isfinite(value)).tolist()[:3]} that are not"
            )
    return joints[..., :BODY_JOINTS, :].astype(np.float64), truth[..., :BODY_JOINTS, :].astype(np.float64)


def _mean_distance_mm(a: np.ndarray, b: np.ndarray) -> float:
    return 1000.0 * float(np.linalg.norm(a - b, axis=-1).mean())
