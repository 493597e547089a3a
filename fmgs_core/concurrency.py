"""Newest-wins hand-over between threads, and a steady beat."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


class Latest(Generic[T]):
    """One writer puts, readers take the newest; what nobody read in time is dropped and counted.

    Live input must not queue: a frame that is two frames old is worth less than the one that just arrived.
    """

    def __init__(self):
        self._condition = threading.Condition()
        self._value: T | None = None
        self._closed = False
        self.dropped = 0

    def put(self, value: T) -> None:
        with self._condition:
            self.dropped += self._value is not None
            self._value = value
            self._condition.notify_all()

    def take(self, timeout_s: float | None = None) -> T | None:
        """The newest value, waiting for one; None after timeout_s or once closed and empty."""
        with self._condition:
            self._condition.wait_for(lambda: self._value is not None or self._closed, timeout_s)
            value, self._value = self._value, None
            return value

    def close(self) -> None:
        """Wakes every reader; what is still inside can be taken."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed


class Cadence:
    """True at most once every `period_s` by the clock passed in."""

    def __init__(self, period_s: float, clock: Callable[[], float]):
        if period_s < 0:
            raise ValueError(f"Cadence.period_s: expected zero or more seconds, got {period_s}")
        self._period_s, self._clock = period_s, clock
        self._next_s = clock()

    def due(self) -> bool:
        now = self._clock()
        if now < self._next_s:
            return False
        self._next_s = now + self._period_s
        return True


class _ParallelKernels:
    """Holds one lock, and gives torch its own number of threads back, which numba's OpenMP layer overwrites."""

    def __init__(self):
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._torch_threads = torch.get_num_threads()

    def __exit__(self, *_: object) -> None:
        if torch.get_num_threads() != self._torch_threads:
            torch.set_num_threads(self._torch_threads)
        self._lock.release()


PARALLEL_KERNELS = _ParallelKernels()
"""Held around every call of a numba kernel compiled with parallel=True: numba's fallback threading layer, used where
libgomp is not installed, aborts the process when two threads are inside such kernels at once."""
