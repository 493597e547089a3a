"""Suite `memory`: resident memory while training goes on, in a process of its own."""

import multiprocessing
import os
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from fmgs_core.benchmark.measurement import Better, Measurement, Progress
from fmgs_core.benchmark.person import turning_person
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.benchmark.step import everything_learns, trainer_of

WARM_UP = 100
SAMPLES = 50
SIZE_TOLERANCE = 0.15
GROWTH_TOLERANCE = 0.02
_STATM = Path("/proc/self/statm")


def memory_suite(config: BenchmarkConfig, progress: Progress) -> Iterator[Measurement]:
    """Resident megabytes after the warm-up, and what further iterations add, which should be nothing.

    Raises:
        RuntimeError: the system does not tell (it is not Linux), or the process that trains died.
    """
    resident_mb()
    samples = []
    for iteration, megabytes in _in_a_fresh_process(config):
        progress(f"memory: iteration {iteration} of {config.iterations}, {megabytes:.0f} MB")
        samples.append((iteration, megabytes))
    yield from memory_rows(samples)


def memory_rows(samples: list[tuple[int, float]]) -> Iterator[Measurement]:
    """Of samples (iteration after the warm-up, megabytes).

    Peaks are compared: between them, what a step has freed and the next one takes again comes and goes.
    """
    iterations, megabytes = np.array(samples, dtype=np.float64).T
    fifth = -(-len(megabytes) // 5)
    first, last = megabytes[:fifth].max(), megabytes[-fifth:].max()
    grown = 1000 * (last - first) / (iterations[-1] - iterations[0])
    lower = Better.LOWER
    yield Measurement("memory", "resident after warm-up", float(first), "MB", lower, SIZE_TOLERANCE, None)
    yield Measurement("memory", "growth per 1,000 iterations", float(grown), "MB", lower, None, None)
    name = "resident at the end over after warm-up"
    yield Measurement("memory", name, float(last / first), "ratio", lower, GROWTH_TOLERANCE, None)


def resident_mb() -> float:
    """Of this process."""
    if not _STATM.exists():
        raise RuntimeError(f"resident memory: expected a Linux system with {_STATM}, got one without")
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _in_a_fresh_process(config: BenchmarkConfig) -> Iterator[tuple[int, float]]:
    """What the caller has in its memory must not count, nor what it frees meanwhile."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(config, sender), name="fmgs-memory", daemon=True)
    process.start()
    sender.close()
    try:
        while (sample := receiver.recv()) is not None:
            yield sample
    except EOFError:
        process.join()
        raise RuntimeError(f"memory: the process that trains ended early, exit code {process.exitcode}") from None
    finally:
        process.terminate()
        process.join()


def _train(config: BenchmarkConfig, out: Connection) -> None:
    torch.set_num_threads(1)
    body = config.avatar_body()
    views = turning_person(body, config.keyframes, config.size_px, config.person_px)
    trainer = trainer_of(body, views, everything_learns())
    for _ in range(WARM_UP):
        trainer.step()
    every = max(1, config.iterations // SAMPLES)
    for iteration in range(config.iterations + 1):
        if iteration % every == 0 or iteration == config.iterations:
            out.send((iteration, resident_mb()))
        trainer.step()
    out.send(None)
