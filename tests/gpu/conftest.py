"""Tests of this folder need an NVIDIA GPU and gsplat; without them they are skipped, and say which is missing."""

import pytest

from fmgs_core.raster.cuda import load_gsplat


@pytest.fixture(autouse=True, scope="session")
def _gsplat() -> None:
    try:
        load_gsplat()
    except (RuntimeError, ImportError) as missing:
        pytest.skip(str(missing))
