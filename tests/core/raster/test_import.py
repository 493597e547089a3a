"""Behaviour: asking for the rasterizer does not load the compiler; the first drawing does."""

import subprocess
import sys

IMPORT = "import sys, fmgs_core.raster; sys.exit('numba' in sys.modules)"


def test_importing_the_rasterizer_does_not_import_numba():
    assert subprocess.run([sys.executable, "-c", IMPORT]).returncode == 0
