"""The report: whole in one file, readable back, and honest about what is not a number. Kinds: property, round trip, poison."""

import json
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from fmgs_core.evaluation import report as report_module
from fmgs_core.evaluation.curves import Curve, curve_svg
from fmgs_core.evaluation.page import Picture, label_and_unit, number_text
from fmgs_core.evaluation.report import RunReport, read_figures, write_report

LOADING = {"src", "href", "xlink:href", "data", "poster", "srcset", "action", "background"}


class Loads(HTMLParser):
    """Collects what a browser would fetch, and every tag."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in LOADING]


def example(**changes) -> RunReport:
    photo = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    flat = np.zeros((64, 48, 3), np.uint8)
    flat[20:40] = (255, 0, 109)
    time_s = [0.0, 1.0, 2.0]
    values = {
        "title": "An avatar <of & somebody>",
        "source": "bag, 3 frames",
        "figures": {"novel_view_psnr_db": 24.5, "frames": 12345, "backend": "cpu", "chamfer_mm": 11.25},
        "curves": {
            "Loss by term": Curve(time_s, {"colour": [1.0, 0.1, 0.01], "mask": [1.0, float("nan"), 0.3]}, "time [s]", "loss"),
            "Speed": Curve(time_s, {"iterations": [10.0, 12.0, 14.0]}, "time [s]", "iterations per s"),
        },
        "pictures": {
            "Input and reconstruction": [Picture("input <1>", photo)],
            "Masks": [Picture(str(i), flat) for i in range(8)],
        },
        "timings_ms": {"prior": 23.5, "training": 60.0},
        "config": {"preset": "cpu", "tracker": {"iterations": 5}},
        "warnings": ["The focal length was guessed & may be wrong."],
    }
    return RunReport(**(values | changes))


@pytest.fixture
def html(tmp_path: Path) -> str:
    write_report(tmp_path / "report.html", example())
    return (tmp_path / "report.html").read_text()


def test_the_page_loads_nothing(html):
    loads = Loads(html)
    assert "img" in loads.tags and "svg" in loads.tags
    assert [a for a in loads.addresses if not a.startswith(("data:image/", "#"))] == []
    assert not {"script", "link", "iframe", "object", "embed"} & set(loads.tags)
    for outside in ("http:", "https:", "url(//", "@import", "file:"):
        assert outside not in html


def test_the_page_shows_every_part(html):
    for expected in (
        *("Novel view PSNR", "24.5", "12,345", "Input and reconstruction", "input &lt;1&gt;", "Masks", "Loss by term", "Speed"),
        *("training", "60.0", "tracker.iterations", "guessed &amp; may be wrong", "An avatar &lt;of &amp; somebody&gt;"),
        *("prefers-color-scheme: dark", "width=device-width"),
    ):
        assert expected in html, expected


def test_pictures_survive_inside_the_page(html):
    pictures = [a for a in Loads(html).addresses if a.startswith("data:image/")]
    assert len(pictures) == 9
    flat = np.asarray(Image.open(BytesIO(b64decode(pictures[-1].split(",")[1]))))
    assert flat.shape == (64, 48, 3)
    assert tuple(flat[30, 10]) == (255, 0, 109), "a label picture's colours are exact"


def test_the_figures_come_back_from_json(tmp_path):
    write_report(tmp_path / "new/folder/report.html", example())
    assert read_figures(tmp_path / "new/folder/report.json") == example().figures


def test_a_figure_that_is_not_finite_is_said_and_not_hidden(tmp_path):
    write_report(tmp_path / "report.html", example(figures={"psnr_db": float("nan"), "miou": float("inf")}))
    strict = json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"psnr_db": "nan", "miou": "inf"}
    assert "psnr_db is nan" in (tmp_path / "report.html").read_text()


def test_a_write_that_fails_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(path, example(title="the old one"))

    def power_cut(file_descriptor: int) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(report_module.os, "fsync", power_cut)
    with pytest.raises(OSError, match="power cut"):
        write_report(path, example(title="the new one"))
    assert "the old one" in path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_reader_of_the_old_report_keeps_it_while_the_new_one_is_written(tmp_path):
    path, reader = tmp_path / "report.html", tmp_path / "opened before"
    write_report(path, example(title="the old one"))
    reader.hardlink_to(path)
    write_report(path, example(title="the new one"))
    assert "the old one" in reader.read_text()
    assert "the new one" in path.read_text()


def test_a_bare_report_needs_only_figures(tmp_path):
    write_report(tmp_path / "report.html", RunReport("A title", "a camera", {"frames": 3}))
    assert "Warnings" not in (tmp_path / "report.html").read_text()


def test_a_curve_is_drawn_in_the_pages_colours():
    svg = curve_svg(example().curves["Loss by term"])
    assert "var(--line-0)" in svg and "var(--line-1)" in svg and "currentColor" in svg
    assert "#0101" not in svg and "#0302" not in svg, "a stand-in colour was left"
    assert {"loss", "time [s]"} <= {e.text for e in ElementTree.fromstring(svg.replace("xlink:", "")).iter("text")}


def test_steep_curves_get_a_logarithmic_axis():
    """A factor 100 in the loss is drawn by decades, a factor 1.4 in the speed is not."""
    superscript = "font-size: 6.3px"
    assert superscript in curve_svg(example().curves["Loss by term"])
    assert superscript not in curve_svg(example().curves["Speed"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("novel_view_psnr_db", ("Novel view PSNR", "dB")),
        ("miou", ("mIoU", "")),
        ("normal_deg", ("Normal", "°")),
        ("iterations_per_s", ("Iterations", "/s")),
        ("frames", ("Frames", "")),
    ],
)
def test_figure_names_become_labels_and_units(name, expected):
    assert label_and_unit(name) == expected


def test_numbers_keep_four_digits():
    texts = [number_text(x) for x in (24.98312, 0.000123456, 12345.6, 26994, 0, "cpu", float("nan"))]
    assert texts == ["24.98", "0.0001235", "12,346", "26,994", "0", "cpu", "nan"]


def test_bad_input_is_refused_with_its_name(tmp_path):
    for bad, complaint in (
        (lambda: example(figures={"psnr_db": [1.0]}), r"RunReport.figures\['psnr_db'\]: expected float, int or str, got list"),
        (lambda: example(figures={"psnr_db": np.float32(1)}), "expected float, int or str, got float32"),
        (lambda: example(pictures={"Masks": []}), r"RunReport.pictures\['Masks'\]: expected at least one"),
        (lambda: Curve([0.0, 1.0], {"loss": [1.0]}, "t", "y"), r"Curve.ys\['loss'\]: expected 2 values"),
        (lambda: Curve([0.0], {}, "t", "y"), "Curve.ys: expected at least one series"),
        (lambda: write_report(tmp_path / "report.txt", example()), "path: expected a name that ends in .html"),
    ):
        with pytest.raises(ValueError, match=complaint):
            bad()
