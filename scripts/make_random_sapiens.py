#!/usr/bin/env python3
"""Writes a Sapiens v1 checkpoint with random weights: to time engines, to check their parity, and to try the whole way
from a file to an avatar without anybody's weights. What it says of a picture is noise.

    python scripts/make_random_sapiens.py --size 0.3b --task normal --out normal.pth
    fmgs models add normal.pth --accept-licence && fmgs models check sapiens-0.3b-normal
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file

from fmgs_core.atomic import replacing
from fmgs_core.priors.sapiens.architecture import ARCHITECTURES, INPUT_HW, TINY, NetworkSpec, spec_for
from fmgs_core.priors.sapiens.network import SapiensNetwork
from fmgs_core.priors.sapiens.tasks import Task

SIZES = {TINY.name: TINY, **ARCHITECTURES}


def _write_pth(network: SapiensNetwork, path: Path) -> None:
    torch.save({"state_dict": network.state_dict()}, path)


def _write_safetensors(network: SapiensNetwork, path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)


def _write_torchscript(network: SapiensNetwork, path: Path) -> None:
    with warnings.catch_warnings():  # of tracing, which torch would rather see replaced by torch.export
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, _example(network), check_trace=False), str(path))


def _write_exported(network: SapiensNetwork, path: Path) -> None:
    # Whatever the suffix: torch.export.save only warns when it is not .pt2.
    with path.open("wb") as file:
        torch.export.save(torch.export.export(network, (_example(network),)), file)


def _example(network: SapiensNetwork) -> torch.Tensor:
    return torch.zeros(1, 3, *network.spec.input_hw)


WRITERS: dict[str, Callable[[SapiensNetwork, Path], None]] = {
    "pth": _write_pth,
    "torchscript": _write_torchscript,
    "torch.export": _write_exported,
    "safetensors": _write_safetensors,
}


def random_network(spec: NetworkSpec, seed: int = 0) -> SapiensNetwork:
    """The same weights for the same seed."""
    torch.manual_seed(seed)
    return SapiensNetwork(spec).eval().requires_grad_(False)


def write_network(network: SapiensNetwork, path: Path, kind: str) -> None:
    """
    Raises:
        ValueError: the folder does not exist.
    """
    with replacing(path) as part:
        WRITERS[kind](network, part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--task", choices=[task.value for task in Task], default="normal")
    parser.add_argument("--channels", type=int, help="classes or keypoints; by default 28 and 308")
    parser.add_argument(
        "--input", type=int, nargs=2, default=INPUT_HW, metavar=("HEIGHT", "WIDTH"), help="multiples of 64 and 48"
    )
    parser.add_argument("--format", choices=WRITERS, default="pth")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    spec = spec_for(SIZES[given.size], Task(given.task), given.channels, tuple(given.input))
    write_network(random_network(spec, given.seed), given.out, given.format)
    print(f"{given.out}: {given.size} {given.task}, {given.format}, {given.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
