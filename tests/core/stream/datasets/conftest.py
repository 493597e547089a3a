"""A SMPL model file of boxes, written once."""

from pathlib import Path

import pytest

from fmgs_core.body.smplx import load_smpl
from fmgs_core.body.template import BodyModel

from .people import write_smpl


@pytest.fixture(scope="session")
def smpl_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smpl(tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz")


@pytest.fixture(scope="session")
def smpl(smpl_path: Path) -> BodyModel:
    return load_smpl(smpl_path)
