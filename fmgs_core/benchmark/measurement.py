"""One measured figure, and timing that treats all candidates alike."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

Progress = Callable[[str], None]
"""Gets what is being measured, in words, whenever that changes."""
SPEED_UNITS = ("ms", "1/s")


class Better(Enum):
    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True)
class Measurement:
    """One row of the benchmark.

    Raises:
        ValueError: a value or ratio that is not finite, or a tolerance that is not positive.
    """

    suite: str
    name: str
    """Says what was done, on how much: the baseline knows the row by suite and name."""
    value: float
    unit: str
    """ "ms", "1/s", "MB", "ratio"."""
    better: Better
    tolerance: float | None
    """Relative: how much worse than the baseline is a regression. None: shown, never compared."""
    ratio: float | None
    """A speed's value over the peer's in the same run; None without a peer, and for what is not a speed."""

    def __post_init__(self):
        for name in ("value", "ratio"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"Measurement.{name} of {self.name!r}: expected a finite number, got {number}")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"Measurement.tolerance of {self.name!r}: expected None or more than zero, got {self.tolerance}")

    @property
    def figure(self) -> float | None:
        """What the baseline keeps: of speeds the ratio to the peer, which a faster machine leaves as it is; of sizes and
        shares the value. None: nothing to compare."""
        if self.tolerance is None:
            return None
        return self.ratio if self.unit in SPEED_UNITS else self.value


def interleaved_ms(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    warm_up: int,
    *,
    clock_s: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median wall milliseconds by name. The calls take turns, so that another process on the machine disturbs all alike."""
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"interleaved_ms: expected repeats >= 1 and warm_up >= 0, got {repeats} and {warm_up}")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            start_s = clock_s()
            call()
            if turn >= warm_up:
                seconds[name].append(clock_s() - start_s)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def speeds(
    suite: str,
    calls: Mapping[str, Callable[[], object]],
    reference: Callable[[], object] | None,
    repeats: int,
    warm_up: int,
    tolerance: float,
) -> list[Measurement]:
    """Milliseconds of every call, and their ratios to the peer's job `reference`, which takes its turn among them."""
    timed = interleaved_ms({**calls, **({} if reference is None else {_REFERENCE: reference})}, repeats, warm_up)
    reference_ms = timed.pop(_REFERENCE, None)
    return [speed(suite, name, ms, reference_ms, tolerance) for name, ms in timed.items()]


def speed(suite: str, name: str, ms: float, reference_ms: float | None, tolerance: float) -> Measurement:
    ratio = None if reference_ms is None else ms / reference_ms
    return Measurement(suite, name, ms, "ms", Better.LOWER, tolerance, ratio)


_REFERENCE = "the peer's job"
