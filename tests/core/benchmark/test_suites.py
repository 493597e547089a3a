"""The suites at tiny size: every row is there, named once, with a ratio where there is a peer. Kind: behaviour."""

import time

import numpy as np
import pytest

from fmgs_core.benchmark import growth as growing
from fmgs_core.benchmark import step
from fmgs_core.benchmark.growth import Growth, growth
from fmgs_core.benchmark.growth_picture import write_growth_picture
from fmgs_core.benchmark.measurement import Measurement, speed
from fmgs_core.benchmark.memory import memory_rows, memory_suite
from fmgs_core.benchmark.person import turning_person
from fmgs_core.benchmark.profiling import profiled_ms
from fmgs_core.benchmark.render import CHANNELS, render_suite
from fmgs_core.benchmark.settings import BenchmarkConfig
from fmgs_core.benchmark.step import step_suite
from fmgs_core.body.default import default_body
from fmgs_core.body.drawing import draw_mesh
from fmgs_core.body.skinning import posed_vertices

BODY = default_body()
TINY = BenchmarkConfig(gaussians=0, size_px=64, person_px=48, keyframes=2, repeats=1, warm_up=1, iterations=10)


def quiet(what: str) -> None: ...


def test_the_person_is_as_high_as_asked_and_textured():
    views = turning_person(BODY, 4, 128, 96)
    for view in views:
        assert view.maps.mask is not None
        shown = view.maps.mask > 0.5
        # Toes and face are up to 0.15 m nearer than the body's axis at 2.5 m, and look 6 % larger.
        assert np.ptp(np.nonzero(shown.any(1))[0]) + 1 == pytest.approx(96, abs=6)
        assert view.frame.rgb[shown].std() > 50 and view.frame.rgb[~shown].std() > 50
    assert len({view.frame.stamp_ns for view in views}) == 4
    background = ~np.any([view.maps.mask for view in views], axis=0)
    for view in views[1:]:
        np.testing.assert_array_equal(view.frame.rgb[background], views[0].frame.rgb[background])


@pytest.mark.parametrize("with_peer", [True, False])
def test_a_step_is_measured_plain_auxiliary_and_over_the_cycle(with_peer: bool):
    rows = list(step_suite(BODY, TINY, (lambda: sum(range(100_000))) if with_peer else None, quiet))
    compared = [row for row in rows if row.tolerance is not None]
    kinds = ("plain step", "auxiliary step", "mean step of 4")
    assert [row.name for row in compared] == [f"{k}, poses {p}" for p in ("fixed", "learned") for k in kinds]
    assert all((row.ratio is not None) is with_peer and row.value > 0 for row in compared)
    assert any("raster" in row.name for row in rows if row.tolerance is None)
    assert len({row.name for row in rows}) == len(rows)


def test_the_mean_over_the_cycle_is_of_one_step(monkeypatch: pytest.MonkeyPatch):
    def eight_ms(suite: str, calls: dict, *_: object) -> list[Measurement]:
        return [speed(suite, name, 8.0, 2.0, 0.1) for name in calls]

    monkeypatch.setattr(step, "speeds", eight_ms)
    rows = [row for row in step_suite(BODY, TINY, None, quiet) if row.tolerance is not None]
    assert [(row.value, row.ratio) for row in rows] == 2 * [(8.0, 4.0), (8.0, 4.0), (2.0, 1.0)]


def test_pictures_are_measured_by_channel():
    rows = list(render_suite(BODY, TINY, lambda: None, quiet))
    assert [row.name for row in rows] == ["posing", *CHANNELS]
    assert all(row.suite == "render" and row.unit == "ms" for row in rows)


def test_memory_that_stays_grows_by_nothing():
    rows = by_name(memory_rows([(i, 500.0) for i in range(0, 1001, 20)]))
    assert rows["growth per 1,000 iterations"].value == 0
    assert rows["resident at the end over after warm-up"].value == 1
    assert rows["resident after warm-up"].value == 500


def test_a_leak_is_told_and_what_comes_and_goes_is_not():
    leaking = by_name(memory_rows([(i, 500 + 0.1 * i) for i in range(0, 1001, 20)]))
    # Peaks of the first and last fifth lie 1000 - 200 iterations apart, over all 1000.
    assert leaking["growth per 1,000 iterations"].value == pytest.approx(80, abs=1)
    assert leaking["resident at the end over after warm-up"].figure == pytest.approx(600 / 520)
    breathing = by_name(memory_rows([(i, 500.0 - 40 * (i % 40 == 0)) for i in range(0, 1001, 20)]))
    assert breathing["resident at the end over after warm-up"].value == 1


def test_memory_is_watched_in_a_process_of_its_own():
    said = []
    rows = by_name(memory_suite(TINY, said.append))
    # An interpreter with torch and numba takes more than 100 MB; this suite's own process needs no more than 3 GB.
    assert 100 < rows["resident after warm-up"].value < 3000
    assert "iteration 10 of 10" in said[-1]


def by_name(rows) -> dict[str, Measurement]:
    return {row.name: row for row in rows}


def test_time_goes_to_the_module_that_spent_it():
    view = turning_person(BODY, 1, 32, 24)[0]
    vertices = posed_vertices(BODY, view.state)
    draw_mesh(vertices, BODY.faces, view.frame.camera)  # what loading the kernel costs is numba's
    parts = profiled_ms(lambda: draw_mesh(vertices, BODY.faces, view.frame.camera), 3)
    assert next(iter(parts)) == "body.drawing"
    assert list(parts.values()) == sorted(parts.values(), reverse=True)


def test_time_of_compiled_functions_goes_to_their_caller():
    # A sleep may last longer than asked, never shorter; what is left is this file's, which is no part of the project.
    parts = profiled_ms(lambda: time.sleep(0.02), 2)
    assert parts["Python"] > 19


def test_growth_is_measured_at_every_size(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(growing, "SPLATS", (50, 100))
    monkeypatch.setattr(growing, "SIZES_PX", ((32, 32), (64, 36)))
    monkeypatch.setattr(growing, "KEYFRAMES", (2, 5))
    monkeypatch.setattr(growing, "KEYFRAME_SIDE_PX", 48)
    monkeypatch.setattr(growing, "SPLATS_OVER_PIXELS", 100)
    monkeypatch.setattr(growing, "REPEATS", 1)
    # So little may fit into what the process holds already.
    megabytes = iter([500.0, 501.0, 504.0])
    monkeypatch.setattr(growing, "resident_mb", lambda: next(megabytes))
    tables = list(growth(BODY, None, quiet))
    assert [table.x for table in tables] == [[2, 5], [2, 5], [50, 100], [1024, 2304]]
    assert [set(table.ys) for table in tables[::2]] == [{"training step", "taking a frame in"}, {"cpu backend"}]
    assert tables[1].ys == {"resident, added": [1.0, 4.0]}
    write_growth_picture(tmp_path / "new" / "growth.svg", tables)
    text = (tmp_path / "new" / "growth.svg").read_text()
    assert "keyframes of 48-px pictures" in text and "forward and backward [ms]" in text


def test_a_series_must_be_as_long_as_its_axis():
    with pytest.raises(ValueError, match=r"Growth.ys\['a'\]: expected 2 values"):
        Growth("x", "y", [1, 2], {"a": [1.0]})


@pytest.mark.parametrize(
    ("field", "value"),
    [("size_px", 8), ("person_px", 0), ("repeats", 0), ("warm_up", -1), ("live_s", 2.0), ("live_s", float("nan"))],
)
def test_settings_that_measure_nothing_are_refused(field: str, value: float):
    with pytest.raises(ValueError, match=f"BenchmarkConfig.{field}: expected"):
        BenchmarkConfig(**{field: value})
