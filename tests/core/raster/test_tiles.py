"""Property: a tile's list is exactly the splats whose bounds touch it, in order of depth; every splat finds its places."""

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
    tiling = tile_splats(bounds, depth, width, height)
    visible = np.flatnonzero(bounds[:, 1] > bounds[:, 0])
    assert tiling.seen.tolist() == visible.tolist()
    front_to_back = visible[np.argsort(depth[visible], kind="stable")]
    occupied = []
    for tile in range(len(tiling.starts) - 1):
        x, y = tile % tiling.columns * TILE, tile // tiling.columns * TILE
        b = bounds[front_to_back]
        touching = (b[:, 0] < x + TILE) & (b[:, 1] > x) & (b[:, 2] < y + TILE) & (b[:, 3] > y)
        assert tiling.members[tiling.starts[tile] : tiling.starts[tile + 1]].tolist() == front_to_back[touching].tolist()
        occupied += [tile] if touching.any() else []
    assert tiling.occupied.tolist() == occupied


def test_splats_know_their_places():
    bounds, depth = random_bounds(400, 300, 200, seed=1)
    tiling = tile_splats(bounds, depth, 300, 200)
    assert sorted(tiling.pairs.tolist()) == list(range(len(tiling.members)))
    for i in range(400):
        places = tiling.pairs[tiling.pair_starts[i] : tiling.pair_starts[i + 1]]
        assert len(places) == (tiling.members == i).sum() and (tiling.members[places] == i).all()
