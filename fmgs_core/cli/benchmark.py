"""`fmgs bench`: what every stage costs here, and whether that has become worse."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.markup import escape

from fmgs_core.benchmark.baseline import Comparison, Figures, Verdict, compare, read_baseline, updated, write_baseline
from fmgs_core.benchmark.growth import growth
from fmgs_core.benchmark.growth_picture import check_picture_path, write_growth_picture
from fmgs_core.benchmark.peer import PeerUnavailable, RasterPeer
from fmgs_core.benchmark.record import Machine, Record, write_record
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.benchmark.suites import Suite, chosen_suites, run_suite
from fmgs_core.body.default import default_body
from fmgs_core.cli.benchmark_tables import print_growth, print_machine, print_suite, regression_sentence
from fmgs_core.cli.display import Display
from fmgs_core.session.events import Preparing

BASELINE = Path("benchmarks/baseline.json")
PEER = Path("benchmarks/peers/raster_twin.cpp")
GROWTH_PICTURE = Path("docs/benchmark_growth.svg")


@dataclass(frozen=True)
class Bench:
    """Measure every stage on this machine, beside a hand-written C++ rasterizer, and compare with the committed baseline.

    Speeds are compared as ratios to the C++ job timed in the same run, so that the baseline of one machine says something
    on another. Exit code 1: something is worse than the baseline by more than its tolerance.
    """

    suites: tuple[Suite, ...] = ()
    """Which to run; all that the device can when none is named."""
    update_baseline: bool = False
    """Write what was measured as the new baseline of these suites, instead of comparing."""
    baseline: Path = BASELINE
    """File of the baseline; relative to the project's folder."""
    peer: Path = PEER
    """C++ source of the peer, compiled here with g++."""
    growth: bool = False
    """Instead of the suites: how times and memory grow with splats, pixels and keyframes."""
    growth_picture: Path = GROWTH_PICTURE
    """File for its curves: .svg, .pdf or .png."""
    json: Path | None = None
    """File for date, machine, versions and all measurements."""
    config: tyro.conf.OmitArgPrefixes[BenchmarkConfig] = field(default_factory=BenchmarkConfig)

    def run(self) -> int:
        return self._run_growth() if self.growth else self._run_suites()

    def _run_growth(self) -> int:
        if self.suites or self.update_baseline or self.json is not None or self.config.device != "cpu":
            raise ValueError("--growth: expected none of --suites, --update-baseline, --json and --device cuda beside it")
        check_picture_path(self.growth_picture)
        peer = self._peer()
        print_machine(Machine.here(), "growth")
        with _progress() as show:
            tables = list(growth(default_body(), peer, show))
        for table in tables:
            print_growth(table)
        write_growth_picture(self.growth_picture, tables)
        print(f"curves written: {self.growth_picture}")
        return 0

    def _run_suites(self) -> int:
        suites = chosen_suites(self.suites, self.config.device)
        baseline, peer = self._baseline(), self._peer()
        print_machine(Machine.here(), f"{self.config.size_px} px, a person {self.config.person_px} px high")
        rows: list[Comparison] = []
        for suite in suites:
            with _progress() as show:
                compared = compare(run_suite(suite, self.config, peer, show), baseline)
            print_suite(compared)
            rows += compared
        return self._concluded(rows, baseline)

    def _baseline(self) -> Figures:
        if self.update_baseline and not self.baseline.exists():
            return {}
        return read_baseline(self.baseline)

    def _peer(self) -> RasterPeer | None:
        """None, and said why: no ratios. For a new baseline that is an error."""
        if self.config.device == "cuda":
            if self.update_baseline:
                raise ValueError("--update-baseline: expected device cpu, got cuda, which has no peer to take ratios to")
            _warn("there is no peer on a GPU: its figures are shown and not compared")
            return None
        try:
            with _progress() as show:
                show(f"compiling {self.peer}, if it has changed")
                return RasterPeer.compiled(self.peer)
        except PeerUnavailable as reason:
            if self.update_baseline:
                raise
            _warn(f"no comparison of speeds is possible without the peer: {reason}")
            return None

    def _concluded(self, rows: list[Comparison], baseline: Figures) -> int:
        measurements = [row.measurement for row in rows if row.measurement is not None]
        if self.json is not None:
            write_record(self.json, Record.of(measurements))
        if self.update_baseline:
            write_baseline(self.baseline, updated(baseline, measurements))
            print(f"baseline written: {self.baseline}")
            return 0
        return _judged(rows)


def _judged(rows: list[Comparison]) -> int:
    """Says what fails, and what the baseline does not know; the exit code."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    compared = sum(row.change is not None for row in rows)
    if counts[Verdict.NEW] or counts[Verdict.IMPROVED]:
        print(
            f"{counts[Verdict.NEW]} rows are not in the baseline, {counts[Verdict.IMPROVED]} are better by more than their "
            "tolerance: fmgs bench --update-baseline takes them in"
        )
    failed = [row for row in rows if row.verdict.fails]
    for row in failed:
        Console(stderr=True).print(
            f"[bold red]regression:[/] {escape(regression_sentence(row))}", highlight=False, soft_wrap=True
        )
    if not failed:
        print(f"no regression in {compared} rows compared")
    return 1 if failed else 0


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A function that shows on stderr what is being done."""
    with Display(Console(stderr=True)) as display:
        yield lambda what: display(Preparing(escape(what)))


def _warn(what: str) -> None:
    Console(stderr=True).print(f"[yellow]warning:[/] {escape(what)}", highlight=False, soft_wrap=True)
