"""The command line in this process, with results small enough to be written often."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fmgs_core.cli import results
from fmgs_core.cli.main import main
from fmgs_core.evaluation.report import read_figures

from .streams import Stage

Fmgs = Callable[..., tuple[int, str]]


@pytest.fixture
def fmgs(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Fmgs:
    """Runs `fmgs` with these arguments; gives exit code and everything it wrote."""
    monkeypatch.setattr(results, "TURNTABLE_VIEWS", 8)
    monkeypatch.setattr(results, "TURNTABLE_PX", 64)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fmgs", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, "".join(capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def stage(shared: Path) -> Stage:
    return Stage(shared / "gt" / "dressed_a" / "train", side=192)


def figures(out: Path) -> dict[str, float | int | str]:
    return read_figures(out / "report.json")
