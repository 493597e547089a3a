"""Motion blur: a keyframe that is less sharp than those of nearly the same pose and view is visited less often.

Sharp in its least sharp direction (the smaller eigenvalue of the structure tensor), for motion blurs along one. Against its
likes, because a back is plainer than a face; where all of them are blurred, there is nothing better to look at. On
gt/dressed_a blurred by 9 to 15 px all blurred crops are below 0.55 of their likes, all others above 0.83.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

LIKES = 7
LIKE_M = 0.12  # RMS joint distance up to which pose and view are nearly the same: 20 degrees of yaw
_LEAST_LIKES = 4  # itself included
_SHARP_QUANTILE = 0.75  # of the likes: up to three of four may be blurred
_BLURRED, _SHARP = 0.55, 0.8  # relative sharpness at which the trust begins to rise, and is whole
_EDGE_PX = 9  # the outline's contrast is the room's


def sharpness(rgb: UInt8[np.ndarray, "h w 3"], mask: Float[np.ndarray, "h w"]) -> float:
    """Root mean square slope of the brightness inside the mask in its least sharp direction, relative to the mean
    brightness [1/px]; zero where the mask has no inside."""
    inside = cv2.erode((mask > 0.5).astype(np.uint8), np.ones((_EDGE_PX, _EDGE_PX))) > 0
    if not inside.any():
        return 0.0
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slopes = np.stack([cv2.Sobel(grey, -1, 1, 0)[inside], cv2.Sobel(grey, -1, 0, 1)[inside]]) / 8
    least = np.linalg.eigvalsh(slopes @ slopes.T / slopes.shape[1])[0]
    return float(np.sqrt(max(least, 0.0)) / (grey[inside].mean() + 1))


def blur_trust(
    sharpnesses: Float[np.ndarray, " n"], distances: Float[np.ndarray, "n n"], least: float
) -> Float[np.ndarray, " n"]:
    """How often each keyframe is to be visited against a sharp one, in [least, 1].

    Args:
        distances: between the keyframes' poses and views [m]; the diagonal is not looked at.
    """
    if len(sharpnesses) <= LIKES:
        return np.ones(len(sharpnesses))
    apart = distances.copy()
    np.fill_diagonal(apart, -1)
    nearest = np.argpartition(apart, LIKES - 1, axis=1)[:, :LIKES]
    likes = np.where(np.take_along_axis(apart, nearest, 1) <= LIKE_M, sharpnesses[nearest], np.nan)
    relative = sharpnesses / np.maximum(_quantiles(likes, _SHARP_QUANTILE), 1e-9)
    trust = least + (1 - least) * np.clip((relative - _BLURRED) / (_SHARP - _BLURRED), 0, 1)
    return np.where(np.isfinite(likes).sum(1) >= _LEAST_LIKES, trust, 1.0)


def _quantiles(values: Float[np.ndarray, "n k"], quantile: float) -> Float[np.ndarray, " n"]:
    """np.nanquantile of each row, which must hold a number; that one takes a row at a time, 2 ms for a hundred."""
    ordered = np.sort(values, axis=1)  # NaN last
    place = quantile * (np.isfinite(values).sum(1) - 1)
    below = np.floor(place).astype(int)
    rows, above = np.arange(len(values)), np.ceil(place).astype(int)
    return ordered[rows, below] + (place - below) * (ordered[rows, above] - ordered[rows, below])
