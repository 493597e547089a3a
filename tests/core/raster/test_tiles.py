"""Property: a tile's list is exactly the splats whose bounds touch it, in order of depth; work is dealt once and evenly."""

import numpy as np
import pytest

from fmgs_core.raster.tiles import TILE, tile_splats


def random_bounds(n: int, width: int, height: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, width + 1, (n, 2)), rng.integers(0, height + 1, (n, 2))
    bounds = np.concatenate([np.sort(x, 1), np.sort(y, 1)], 1).astype(np.int32)
    empty = (bounds[:, 0] == bounds[:, 1]) | (bounds[:, 2] == bounds[:, 3])
    bounds[empty] = 0
    return bounds, rng.choice(np.array([0.05, 0.3, 0.30000001, 1, 2, 1e5], np.float32), n) + rng.choice([0, 1e-3], n).astype(
        "f4"
    )


@pytest.mark.parametrize(("n", "width", "height"), [(0, 20, 20), (1, 1, 1), (200, 70, 33), (500, 16, 128), (3000, 100, 100)])
def test_tiles_hold_what_touches_them_front_to_back(n, width, height):
    bounds, depth = random_bounds(n, width, height, seed=n)
    tiling = tile_splats(bounds, depth, width, height, workers=3)
    visible = np.flatnonzero(bounds[:, 1] > bounds[:, 0])
    assert tiling.order.tolist() == visible[np.argsort(depth[visible], kind="stable")].tolist()
    for tile in range(len(tiling.starts) - 1):
        x, y = tile % tiling.columns * TILE, tile // tiling.columns * TILE
        b = bounds[tiling.order]
        touching = (b[:, 0] < x + TILE) & (b[:, 1] > x) & (b[:, 2] < y + TILE) & (b[:, 3] > y)
        assert tiling.members[tiling.starts[tile] : tiling.starts[tile + 1]].tolist() == np.flatnonzero(touching).tolist()


@pytest.mark.parametrize("workers", [1, 2, 7, 64])
def test_every_occupied_tile_has_one_owner_and_loads_are_even(workers):
    bounds, depth = random_bounds(400, 300, 200, seed=1)
    tiling = tile_splats(bounds, depth, 300, 200, workers)
    counts = np.diff(tiling.starts)
    assert sorted(tiling.worklist.tolist()) == np.flatnonzero(counts).tolist()
    assert tiling.shares[0] == 0 and tiling.shares[-1] == len(tiling.worklist)
    loads = [counts[tiling.worklist[a:b]].sum() for a, b in zip(tiling.shares[:-1], tiling.shares[1:], strict=True)]
    # Dealing by falling load leaves the loads apart by at most one tile's.
    assert max(loads) - min(loads) <= counts.max()
