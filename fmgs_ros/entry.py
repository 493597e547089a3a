"""Starts a node's module, and ends its process, so that a signal at any moment leaves no traceback and exit code 0."""

import os
import signal
import sys
from importlib import import_module
from types import ModuleType
from typing import NoReturn


def run(module: str) -> NoReturn:
    """Calls `main() -> exit code` of a module and ends the process with it."""
    # Read once, when the libraries load: threads that spin or share out trifles starve the others (fmgs_core/cli/main.py).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: sys.exit(0))
    code = _loaded(module).main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through the interpreter's own end: it takes the signal handlers away while it waits for native threads, so that the
    # SIGTERM of an impatient ros2 launch would still count as a crash.
    os._exit(code)


def _loaded(module: str) -> ModuleType:
    """The commonest mistake, a Python without torch and its like, is told in one sentence."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("fmgs_core", "fmgs_ros"):
            raise
        sys.exit(
            f"{module}: {sys.executable} lacks the package {error.name!r}; activate the virtual environment that fmgs_ros was"
            " installed into with pip, or name its interpreter: ros2 launch ... python:=VENV/bin/python"
        )
