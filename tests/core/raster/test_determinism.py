"""Property: the same input gives the same bits, forward and backward, from call to call and from several threads at once."""

from concurrent.futures import ThreadPoolExecutor

import numba
import pytest
import torch

from tests.core.raster.scenes import IMAGES, camera, draw, gradients, leaves, random_gradients, random_splats

VIEW = camera(150, 130, focal=200)


def everything(seed: int = 3) -> list[torch.Tensor]:
    splats = leaves(random_splats(500, seed=seed, size=(0.01, 0.1)))
    drawn = draw(splats, VIEW)
    grads = random_gradients(drawn, torch.ones_like(drawn.alpha))
    return [*(getattr(drawn, n).detach() for n in IMAGES), *gradients(drawn, splats, grads).values()]


def same_bits(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x.view(torch.int32), y.view(torch.int32)) for x, y in zip(a, b, strict=True))


def test_repeated_calls_agree_in_every_bit():
    first = everything()
    assert all(same_bits(first, everything()) for _ in range(8))


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
def test_nothing_depends_on_the_number_of_threads():
    first = everything()
    numba.set_num_threads(1)
    try:
        alone = everything()
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert same_bits(first, alone)


def test_a_renderer_and_a_trainer_may_draw_at_once():
    expected = {seed: everything(seed) for seed in (1, 2)}
    with ThreadPoolExecutor(2) as pool:
        for seed, result in pool.map(lambda k: (1 + k % 2, everything(1 + k % 2)), range(8)):
            assert same_bits(result, expected[seed])


def test_equal_depths_keep_the_order_given():
    splats = random_splats(2, size=(0.3, 0.31))
    for tensor in vars(splats).values():
        tensor[1] = tensor[0]
    splats.opacities[:] = 0.9
    splats.colors[:] = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    drawn = draw(splats, camera())
    red, green, _ = drawn.rgb[drawn.alpha == drawn.alpha.max()][0]
    assert red > 0.85 and green < 0.15
