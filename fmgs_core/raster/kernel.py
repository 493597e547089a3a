"""How this package compiles: kernels, which numba keeps on disk, and the functions they are made of."""

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

from fmgs_core.concurrency import PARALLEL_KERNELS


@functools.cache
def _stamp(file: str) -> str:
    """Of this package's sources and the kernel's own file, which may lie elsewhere."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(file)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def kernel_part(function: Callable) -> Any:
    """Compiled into the kernels that call it."""
    return _compiled(function)


def kernel(function: Callable) -> Any:
    """Compiled once and kept on disk until its own file or any of this package changes.

    Numba by itself compares the kernel's own file only, and would go on running what it once inlined from the others.
    """
    return _stamped(_compiled(function, cache=True))


def parallel_kernel(function: Callable) -> Callable:
    """`kernel` whose prange loops are spread over threads; one caller at a time, see PARALLEL_KERNELS."""
    compiled = _stamped(_compiled(function, cache=True, parallel=True))

    @functools.wraps(function)
    def alone(*arguments: Any) -> Any:
        with PARALLEL_KERNELS:
            return compiled(*arguments)

    return alone


def _compiled(function: Callable, cache: bool = False, parallel: bool = False) -> Any:
    # A division by zero gives infinity, as in numpy, instead of a test and an exception at every division. Unwrapped,
    # because what checks annotations under test wraps every function at import.
    options = njit(cache=cache, parallel=parallel, nogil=True, error_model="numpy")
    return options(inspect.unwrap(function))


def _stamped(dispatcher: Any) -> Any:
    dispatcher._cache._cache_file._source_stamp = _stamp(inspect.getfile(dispatcher.py_func))
    return dispatcher
