"""SSIM as the peers' evaluator takes it on ZJU-MoCap, to compare with printed figures only; metrics.ssim is the usual one."""

import cv2
import numpy as np
from jaxtyping import Float

WINDOW = 7
# mikeqzy/3dgs-avatar-release, utils/general_utils.py, class SSIM: scikit-image's structural_similarity (0.19, as python 3.7
# has it) of float pictures without a data_range, which it then takes to be that of floats, -1 to 1. Pictures span 1, so
# the stabilising constants are four times what they should be and the figure comes out higher than SSIM is.
DATA_RANGE = 2.0
K1, K2 = 0.01, 0.03


def peer_ssim(picture: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"]) -> float:
    """Mean over pixels and channels, uniform 7 x 7 windows that lie inside the picture, sample covariances.

    Raises:
        ValueError: shapes that differ, or a picture smaller than the window.
    """
    if picture.shape != truth.shape or min(truth.shape[:2]) < WINDOW:
        raise ValueError(
            f"picture: expected the truth's shape, at least {WINDOW} x {WINDOW}, got {picture.shape}, {truth.shape}"
        )
    a, b = picture.astype(np.float64), truth.astype(np.float64)
    mean_a, mean_b = _mean(a), _mean(b)
    samples = WINDOW**2 / (WINDOW**2 - 1)
    variances = samples * (_mean(a * a) - mean_a**2 + _mean(b * b) - mean_b**2)
    covariance = samples * (_mean(a * b) - mean_a * mean_b)
    c1, c2 = (K1 * DATA_RANGE) ** 2, (K2 * DATA_RANGE) ** 2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2) / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))
    edge = WINDOW // 2
    return float(similarity[edge:-edge, edge:-edge].mean())


def _mean(values: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    return cv2.boxFilter(values, cv2.CV_64F, (WINDOW, WINDOW))
