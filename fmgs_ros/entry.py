"""Starts a node's module so that a Ctrl-C while torch is still being imported ends without a traceback, too."""

import signal
import sys
from importlib import import_module
from typing import NoReturn


def run(module: str) -> NoReturn:
    """Calls `main() -> exit code` of a module and ends the process with it."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: sys.exit(0))
    sys.exit(import_module(module).main())
