"""Entry point: finds the subcommand, runs it, and says errors as one sentence."""

import sys

import tyro
from rich.console import Console

from fmgs_core.cli.diagnose import Doctor
from fmgs_core.cli.measure import Eval
from fmgs_core.cli.render import Export, Render
from fmgs_core.cli.run import Demo, Run

COMMANDS = {"demo": Demo, "run": Run, "render": Render, "export": Export, "eval": Eval, "doctor": Doctor}


def main() -> None:
    """Exit codes: 0 done, 1 the input or the machine does not allow it (said why), 2 wrong arguments, 130 interrupted."""
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="fmgs", description=__doc__)
    try:
        sys.exit(command.run())
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
