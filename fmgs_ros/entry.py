"""Starts a node's module so that a Ctrl-C while torch is still being imported ends without a traceback, too."""

import os
import signal
import sys
from importlib import import_module
from typing import NoReturn


def run(module: str) -> NoReturn:
    """Calls `main() -> exit code` of a module and ends the process with it."""
    # Read once, when the libraries load: threads that spin while they wait starve the others (fmgs_core/cli/main.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: sys.exit(0))
    sys.exit(import_module(module).main())
