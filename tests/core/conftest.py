"""The scripts as modules, and a tiny sequence that one of them made."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"scripts/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make_subjects() -> ModuleType:
    return load("make_subjects")


@pytest.fixture(scope="session")
def degrade_maps() -> ModuleType:
    return load("degrade_maps")


@pytest.fixture(scope="session")
def write_tiny(make_subjects: ModuleType) -> Callable[[str, Path], Path]:
    """Writes a subject with six train frames of 96 px, and two frames per camera and split of the others."""

    def write(name: str, folder: Path) -> Path:
        subject = next(s for s in make_subjects.SUBJECTS if s.name == name)
        make_subjects.write_subject(subject, folder / name, make_subjects.Size(96, train=6, views_per_camera=2, poses=2))
        return folder / name

    return write


@pytest.fixture(scope="session")
def tiny(write_tiny: Callable[[str, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny("skirt_b", tmp_path_factory.mktemp("subjects"))
