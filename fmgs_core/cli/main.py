"""Entry point: finds the subcommand, runs it, and says errors as one sentence."""

import os
import sys

# OpenMP threads that spin while they wait starve capture and tracking on a machine of few cores: with two cores and a
# second busy process a training step took 243 ms spinning and 48 ms sleeping. Read once, when the libraries load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The tracker's matrices are too small to share out: with a second BLAS thread beside training a frame takes it 40 ms, not 13.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import tyro
from rich.console import Console
from rich.markup import escape

from fmgs_core.cli.benchmark import Bench
from fmgs_core.cli.diagnose import Doctor
from fmgs_core.cli.keys import Keys
from fmgs_core.cli.measure import Eval
from fmgs_core.cli.models import Models
from fmgs_core.cli.presets import chosen_preset, subcommands
from fmgs_core.cli.priors import Priors
from fmgs_core.cli.render import Export, Render
from fmgs_core.cli.run import Demo, Run

COMMANDS = {
    "demo": Demo,
    "run": Run,
    "priors": Priors,
    "render": Render,
    "export": Export,
    "eval": Eval,
    "bench": Bench,
    "doctor": Doctor,
    "keys": Keys,
    "models": Models,
}


def main() -> None:
    """Exit codes: 0 done (also when the first Ctrl-C ended the stream), 1 the input or the machine does not allow it (said
    why), 2 wrong arguments, 130 interrupted."""
    # The kernels that matter bring their own threads; torch's operations here are too small to gain from a second one.
    torch.set_num_threads(1)
    command = tyro.cli(subcommands(COMMANDS, chosen_preset(sys.argv[1:])), prog="fmgs", description=__doc__)
    try:
        sys.exit(command.run())
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
