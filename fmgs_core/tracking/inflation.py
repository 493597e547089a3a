"""How far the dressed surface stands off the body: one offset along the rest normals for each of 400 clusters of vertices.

Without it the clothes' margin is paid by leaning and moving nearer (46 -> 65 mm joint error); with it the silhouette's IoU
rises from 0.87 to 0.92.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

NUM_CLUSTERS = 400
# Share of the mean gap that is taken over per frame, at first and after FAST_FRAMES frames: a steady field drifts less.
FAST_RATE, SLOW_RATE, FAST_FRAMES = 0.15, 0.05, 30
MAX_GAP_M, LOWEST_M, HIGHEST_M = 0.03, -0.02, 0.06


class InflationField:
    """Offsets [m] of the clusters, blended to the vertices. Starts at zero."""

    def __init__(self, v_template: Float[np.ndarray, "V 3"]):
        centers = v_template[_farthest_points(v_template, min(NUM_CLUSTERS, len(v_template)))]
        distance, nearest = KDTree(centers).query(v_template, k=min(4, len(centers)))
        self._clusters = np.asarray(nearest)
        weights = 1 / (distance + 0.01) ** 2
        self._weights = weights / weights.sum(1, keepdims=True)
        self._offsets = np.zeros(len(centers))
        self._frames = 0

    def observe(self, vertices: Int[np.ndarray, " n"], gaps_m: Float[np.ndarray, " n"], valid: Bool[np.ndarray, " n"]) -> None:
        """Moves the clusters of contour vertices towards the mask's contour; gaps are positive where the mask is larger."""
        cluster, gap = self._clusters[vertices[valid], 0], gaps_m[valid].clip(-MAX_GAP_M, MAX_GAP_M)
        count = np.bincount(cluster, minlength=len(self._offsets))
        total = np.bincount(cluster, gap, minlength=len(self._offsets))
        rate = FAST_RATE if self._frames < FAST_FRAMES else SLOW_RATE
        self._offsets = (self._offsets + rate * total / np.maximum(count, 1)).clip(LOWEST_M, HIGHEST_M)
        self._frames += 1

    def per_vertex(self) -> Float[np.ndarray, " V"]:
        return (self._weights * self._offsets[self._clusters]).sum(1)


def _farthest_points(points: Float[np.ndarray, "V 3"], count: int) -> Int[np.ndarray, " count"]:
    chosen = np.zeros(count, dtype=np.int64)
    distance = ((points - points[0]) ** 2).sum(1)
    for i in range(1, count):
        chosen[i] = distance.argmax()
        distance = np.minimum(distance, ((points - points[chosen[i]]) ** 2).sum(1))
    return chosen
