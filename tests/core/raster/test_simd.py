"""Parity of the SIMD row type with numpy float32, NaN and infinity included."""

import numpy as np
import pytest
from numba import njit

from fmgs_core.raster import simd
from fmgs_core.raster.simd import (
    any_lane,
    block_x,
    block_y,
    floor_of,
    full,
    gather,
    lane_sum,
    lanes,
    larger,
    load,
    load_pixels,
    magnitude,
    ramp,
    root,
    smaller,
    store,
    store_pixels,
    store_sums,
    take_next,
    transposed,
    untransposed,
    where,
)

X = np.array([-3, -1.5, -0.0, 0, 0.25, 1, 2, 7, 1e-30, 1e30, np.inf, -np.inf, np.nan, 5, 5, -5], np.float32)
Y = np.array([2, -1.5, 0.0, 1, 4, np.nan, -2, 1, 1e-30, 1e30, 1, 1, 1, 5, 6, 2], np.float32)
CASES = {
    "add": (lambda x, y: x + y, lambda x, y: x + y),
    "subtract a row": (lambda x, y: 1.5 - y * x, lambda x, y: np.float32(1.5) - y * x),
    "integer": (lambda x, y: x * 2 - 3, lambda x, y: x * np.float32(2) - np.float32(3)),
    "negate": (lambda x, y: -x, lambda x, y: -x),
    "divide": (lambda x, y: (x + 8) / y, lambda x, y: (x + np.float32(8)) / y),
    "smaller": (lambda x, y: smaller(x, y), lambda x, y: np.where(x < y, x, y)),
    "larger": (lambda x, y: larger(x, y), lambda x, y: np.where(x > y, x, y)),
    "choose": (lambda x, y: where((x >= y) & (x < 6), x, y), lambda x, y: np.where((x >= y) & (x < 6), x, y)),
    "equal": (lambda x, y: where(x == y, full(1.0), full(0.0)), lambda x, y: (x == y).astype(np.float32)),
    "less": (lambda x, y: where(x <= y, full(1.0), full(0.0)), lambda x, y: (x <= y).astype(np.float32)),
    "square root": (lambda x, y: root(x), lambda x, y: np.sqrt(x)),
    "floor": (lambda x, y: floor_of(x), lambda x, y: np.floor(x)),
    "magnitude": (lambda x, y: magnitude(x), lambda x, y: np.abs(x)),
    "block": (lambda x, y: block_y() * 4 + block_x(), lambda x, y: np.arange(16, dtype=np.float32)),
    "ramp": (lambda x, y: ramp() + 0.5, lambda x, y: np.arange(16, dtype=np.float32) + np.float32(0.5)),
}


@pytest.mark.parametrize(("on_rows", "on_arrays"), CASES.values(), ids=CASES.keys())
def test_row_arithmetic(on_rows, on_arrays):
    operation = njit(on_rows)

    @njit
    def run(x, y, out):
        store(out, 16, operation(load(x, 0), load(y, 0)))

    out = np.full(48, np.nan, np.float32)
    run(X, Y, out)
    with np.errstate(all="ignore"):
        expected = on_arrays(X, Y)
    # Division may go by reciprocal: needed 1.2e-7 relative.
    np.testing.assert_allclose(out[16:32], expected, rtol=3e-7)
    assert np.isnan(out[:16]).all() and np.isnan(out[32:]).all()


def test_reductions():
    @njit
    def run(x):
        row = load(x, 16)
        return lane_sum(row), any_lane(row > 14.5), any_lane(row > 15)

    x = np.arange(-16, 16, dtype=np.float32)
    assert run(x) == (x[16:].sum(), True, False)


def test_lanes_as_bits():
    @njit
    def run(x):
        return lanes(load(x, 0) > 0.0)

    assert run(X) == sum(1 << int(i) for i in np.flatnonzero(X > 0))


def test_sums_of_four_rows():
    @njit
    def run(x, out):
        store_sums(out, 1, load(x, 0), load(x, 16), load(x, 32), load(x, 48))

    x, out = np.arange(64, dtype=np.float32) ** 2, np.full(6, -1, np.float32)
    run(x, out)
    assert out.tolist() == [-1, *x.reshape(4, 16).sum(1).tolist(), -1]


def test_channels_to_pixels_and_back():
    @njit
    def run(x, pixels, back):
        rows = transposed(load(x, 0), load(x, 16), load(x, 32), load(x, 48))
        again = untransposed(rows[0], rows[1], rows[2], rows[3])
        for r in range(4):
            store(pixels, 16 * r, rows[r])
            store(back, 16 * r, again[r])

    x, pixels, back = np.arange(64, dtype=np.float32), np.zeros(64, np.float32), np.zeros(64, np.float32)
    run(x, pixels, back)
    # channel, line, pixel -> line, pixel, channel
    assert np.array_equal(pixels.reshape(4, 4, 4), x.reshape(4, 4, 4).transpose(1, 2, 0))
    assert np.array_equal(back, x)


@pytest.mark.parametrize(("pixels", "channels"), [(4, 4), (4, 3), (2, 4), (3, 1), (0, 4)])
def test_pixels_that_are_not_there_are_left_alone(pixels, channels):
    @njit
    def run(picture, row, out):
        store(row, 0, load_pixels(picture, 3, 7, pixels, channels))
        store_pixels(out, 3, 7, pixels, channels, load(row, 0))

    picture, row, out = np.arange(1, 41, dtype=np.float32), np.full(16, np.nan, np.float32), np.full(40, np.nan, np.float32)
    run(picture, row, out)
    there = np.zeros((4, 7), bool)
    there[:pixels, :channels] = True
    spot = np.zeros(40, bool)
    spot[3:31] = there.ravel()
    assert np.array_equal(row.reshape(4, 4), np.where(there[:, :4], picture[3:31].reshape(4, 7)[:, :4], 0))
    assert np.array_equal(out[spot], picture[spot]) and np.isnan(out[~spot]).all()


def test_gather_and_counter():
    @njit
    def run(table, indices, counter, out):
        store(out, 0, gather(table, 3, 1, indices))
        return take_next(counter), take_next(counter)

    table, indices = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(19, 3, -1).astype(np.int32)
    out, counter = np.zeros(16, np.float32), np.zeros(1, np.int64)
    assert run(table, indices, counter, out) == (0, 1) and counter[0] == 2
    assert np.array_equal(out, table[indices, 1])


def test_rows_are_one_vector_and_not_a_loop():
    @njit
    def run(x):
        store(x, 0, load(x, 0) * 2.0 + 1.0)

    run(np.zeros(16, np.float32))
    assert f"<{simd.LANES} x float>" in next(iter(run.inspect_llvm().values()))
