"""Parity of the SIMD row type with numpy float32, NaN and infinity included."""

import numpy as np
import pytest
from numba import njit

from fmgs_core.raster import simd
from fmgs_core.raster.simd import any_lane, full, lane_sum, larger, load, ramp, smaller, store, where

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


def test_rows_are_one_vector_and_not_a_loop():
    @njit
    def run(x):
        store(x, 0, load(x, 0) * 2.0 + 1.0)

    run(np.zeros(16, np.float32))
    assert f"<{simd.LANES} x float>" in next(iter(run.inspect_llvm().values()))
