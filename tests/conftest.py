"""What every test runs under: annotations checked, two threads, fixed seeds, the shared recordings where they exist."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Before numba and torch load libgomp: where other processes want the cores too, threads that spin while they wait for each
# other make a training step twenty times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings

REPOSITORY = Path(__file__).parents[1]


def _compiles_kernels(module: str) -> bool:
    """Whether the module's own source imports numba, which cannot compile a function that is wrapped in a check."""
    source = REPOSITORY.joinpath(*module.split("."))
    file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
    return "import numba" in (text := file.read_text()) or "from numba" in text


def _check_annotations() -> None:
    """Shapes and types of every annotated function and dataclass of fmgs_core are checked from here on.

    JAXTYPING_DISABLE=1 in the environment turns it off.
    """
    finder: Any = jaxtyping.install_import_hook("fmgs_core", "beartype.beartype").hook
    instrumented = finder.should_instrument
    finder.should_instrument = lambda module: instrumented(module) and not _compiles_kernels(module)


_raises: Any = pytest.raises


@contextmanager
def _raises_unchecked(expected: Any, *args: Any, **kwargs: Any) -> Iterator[pytest.ExceptionInfo]:
    """pytest.raises with the annotation checks off while a ValueError is expected.

    Users run without the hook: what they meet on bad input is the function's own ValueError, and that is what such a
    test is about. With the hook on, its TypeCheckError would come first and the function's check would go untested.
    """
    disabled = jaxtyping.config.jaxtyping_disable
    kinds = expected if isinstance(expected, tuple) else (expected,)
    try:
        jaxtyping.config.update("jaxtyping_disable", disabled or ValueError in kinds)
        with _raises(expected, *args, **kwargs) as info:
            yield info
    finally:
        jaxtyping.config.update("jaxtyping_disable", disabled)


_check_annotations()
pytest.raises = _raises_unchecked
torch.set_num_threads(2)
# The same examples every time, and no clock: a loaded machine is not a failure.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: ground-truth sequence, clips and bags that cannot be redistributed."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the recordings of {folder.name}/ beside the repository, which are not redistributable")
    return folder
