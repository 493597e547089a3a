"""The hash encoding. Kinds: parity with the twin, transposition, determinism, property, poison."""

import numba as nb
import pytest
import torch
from torch import Tensor

from fmgs_core.avatar.hash_grid import (
    FEATURES,
    GridConfig,
    HashGrid,
    HashLookup,
    encoded,
    encoded_by_bags,
    encoded_reference,
)

SMALL = GridConfig(levels=5, log2_table=10, coarsest=4, finest=60)  # two dense levels, three hashed with collisions


def scene(config: GridConfig = SMALL, count: int = 700) -> tuple[Tensor, Tensor]:
    """A table of ones in size, and points, the cube's own corners among them."""
    points = torch.rand(count, 3)
    points[:2] = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    return torch.randn(config.level_starts[-1], FEATURES), points


@pytest.mark.parametrize("config", [SMALL, GridConfig()])
@pytest.mark.parametrize("backend", [encoded, encoded_by_bags])
def test_backend_and_twin_agree(backend, config: GridConfig):
    table, points = scene(config)
    table.requires_grad_()
    lookup = HashLookup.of(points, config)
    direction = torch.randn(config.width, len(points))
    direction[:, ::3] = 0  # points that are not seen
    results = []
    for out in (backend(table, lookup), encoded_reference(table, points, config)):
        results.append((out, torch.autograd.grad((out * direction).sum(), table)[0]))
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-6, rtol=0)  # measured need 5e-7
    torch.testing.assert_close(results[0][1], results[1][1], atol=2e-5, rtol=1e-5)


def test_the_backward_pass_is_the_transposed_product():
    """<A x, y> = <x, A^T y> for any x, y."""
    table, points = scene(GridConfig())
    lookup = HashLookup.of(points, GridConfig())
    table.requires_grad_()
    out = encoded(table, lookup)
    y = torch.randn_like(out)
    (transposed,) = torch.autograd.grad(out, table, y)
    left = (out.detach().double() * y.double()).sum()
    right = (table.detach().double() * transposed.double()).sum()
    assert float((left - right).abs() / left.abs()) < 1e-5


def test_the_kernels_gradient_is_that_of_finite_differences():
    table, points = scene()
    lookup = HashLookup.of(points, SMALL)
    weights = torch.randn(SMALL.width, len(points))
    table.requires_grad_()
    (gradient,) = torch.autograd.grad((encoded(table, lookup) * weights).sum(), table)
    for entry in torch.randint(table.numel(), (20,)).tolist():
        step = torch.zeros(table.numel())
        step[entry] = 0.5  # linear in the table: any step is exact but for rounding
        step = step.view_as(table)
        high, low = (float((encoded(table.detach() + s, lookup) * weights).sum()) for s in (step, -step))
        assert high - low == pytest.approx(float(gradient.flatten()[entry]), abs=2e-3)


def test_equal_bits_on_any_number_of_threads():
    table, points = scene(GridConfig(), 3000)
    lookup, upstream = HashLookup.of(points, GridConfig()), torch.randn(32, 3000)
    table.requires_grad_()
    threads, results = nb.get_num_threads(), []
    try:
        for count in (1, threads, threads):
            nb.set_num_threads(count)
            out = encoded(table, lookup)
            results.append((out, *torch.autograd.grad(out, table, upstream)))
    finally:
        nb.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_a_constant_table_is_encoded_as_that_constant():
    """Weights of a cell's corners sum to 1, on the cube's sides too."""
    _, points = scene()
    lookup = HashLookup.of(points, SMALL)
    constant = torch.tensor([2.0, -3.0]).expand(SMALL.level_starts[-1], 2).contiguous()
    expected = torch.tensor([2.0, -3.0]).repeat(SMALL.levels)[:, None].expand(-1, len(points))
    torch.testing.assert_close(encoded(constant, lookup), expected, atol=2e-6, rtol=0)


def test_a_dense_level_interpolates_a_linear_function_exactly():
    config = GridConfig(levels=1, log2_table=16, coarsest=8, finest=8)
    axis = torch.linspace(0, 1, 9)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    table = torch.stack([x + 2 * y - z, y], -1).reshape(-1, 2)
    points = torch.rand(100, 3)
    expected = torch.stack([points @ torch.tensor([1.0, 2.0, -1.0]), points[:, 1]])
    torch.testing.assert_close(encoded(table, HashLookup.of(points, config)), expected, atol=1e-5, rtol=0)


def test_every_row_of_the_table_is_in_its_level():
    _, points = scene(GridConfig())
    lookup = HashLookup.of(points, GridConfig())
    sizes = torch.tensor(GridConfig().level_starts).diff()
    rows = lookup.rows.to(torch.int32)
    assert (rows.amax((1, 2)) < sizes).all() and GridConfig().resolutions[0] == 16 and GridConfig().resolutions[-1] == 2048
    assert (sizes <= 2**16).all() and sizes[0] == 17**3
    torch.testing.assert_close(lookup.weights.sum(-1), torch.ones(16, len(points)))


def test_unseen_points_give_exactly_no_gradient():
    points = torch.rand(50, 3)
    grid = HashGrid(points, SMALL, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(grid(), grid.table, torch.zeros(SMALL.width, 50))
    assert (gradient == 0).all()


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_points_outside_of_the_cube_are_refused(value: float):
    points = torch.full((3, 3), 0.5)
    points[1, 2] = value
    with pytest.raises(ValueError, match="points: expected all in the unit cube"):
        HashLookup.of(points, SMALL)


@pytest.mark.parametrize(("name", "value"), [("levels", 0), ("log2_table", 17), ("coarsest", 4096)])
def test_sizes_that_make_no_grid_are_refused(name: str, value: int):
    with pytest.raises(ValueError, match=rf"GridConfig\.{name}: expected 1 to \d+, got {value}"):
        GridConfig(**{name: value})
