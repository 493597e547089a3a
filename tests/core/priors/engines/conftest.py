"""ONNX files of small networks, each exported once for all tests: tracing one takes two seconds."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from fmgs_core.priors.engines.export import export_onnx
from fmgs_core.priors.sapiens.tasks import Task

from .networks import tiny


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], Path]:
    """Of `tiny(task)`, with its record beside it; not to be changed."""
    pytest.importorskip("onnxscript", reason="pip install fmgs_ros[sapiens]")
    pytest.importorskip("onnxruntime", reason="pip install fmgs_ros[sapiens]")

    @cache
    def made(task: Task) -> Path:
        network, io = tiny(task)
        path = tmp_path_factory.mktemp("onnx") / f"{task.value}.onnx"
        export_onnx(network, io, task, path)
        return path

    return made
