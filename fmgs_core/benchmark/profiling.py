"""Where the time of a call goes, by module, without a hook in what is measured."""

import cProfile
import pstats
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import fmgs_core

_ROOT = Path(fmgs_core.__file__).parent
_BUILT_IN = "~"  # pstats' file name of functions that are not Python


def profiled_ms(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Milliseconds per call by part, largest first; their sum is the call under the profiler, which adds a few percent.

    A part is a module, such as "raster.cpu", with " backward" behind it for its autograd backward functions; torch's
    compiled operations count for the module that called them, those of built-in backward nodes for "torch.autograd".
    """
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(repeats):
        call()
    profile.disable()
    # pstats keeps, per function: calls, primitive calls, own seconds, total seconds, and the same four by caller.
    stats: dict = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    seconds: defaultdict[str, float] = defaultdict(float)
    for (file, _, function), (_, _, own_s, _, callers) in stats.items():
        if file != _BUILT_IN:
            seconds[_part(file, function)] += own_s
            continue
        for (caller_file, _, caller), (_, _, caller_s, _) in callers.items():
            seconds[_part(caller_file, caller)] += caller_s
    per_call = {part: 1e3 * value / repeats for part, value in seconds.items()}
    return dict(sorted(per_call.items(), key=lambda item: -item[1]))


def _part(file: str, function: str) -> str:
    path = Path(file)
    if path.is_relative_to(_ROOT):
        module = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        return f"{module} backward" if function.lstrip("_").startswith("backward") else module
    for package in ("torch/optim", "torch/autograd", "torch", "numba", "numpy"):
        if f"/{package}/" in path.as_posix():
            return package.replace("/", ".")
    return "Python"
