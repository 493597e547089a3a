"""The picture of when each part switched on. Kinds: property, refusal."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from fmgs_core.evaluation.timeline import Mark, Timeline, timeline_svg, write_timeline

MARKS = [
    Mark(0.4, "geometry", "4 keyframes, <40° of yaw>"),
    Mark(0.6, "poses", "12 keyframes"),
    Mark(9.0, "more Gaussians", "&"),
]


def example(marks: list[Mark] = MARKS, times: int = 20) -> Timeline:
    return Timeline([0.5 * i for i in range(times)], [18.0 * i for i in range(times)], list(range(times)), marks)


@pytest.mark.parametrize("timeline", [example(), example([]), example(times=1)], ids=["full", "nothing on", "one beat"])
def test_it_is_whole_and_loads_nothing(timeline: Timeline, tmp_path: Path):
    write_timeline(tmp_path / "schedule.svg", timeline)
    alone = (tmp_path / "schedule.svg").read_text(encoding="utf-8")
    for text in (alone, f'<div xmlns:xlink="http://www.w3.org/1999/xlink">{timeline_svg(timeline)}</div>'):
        root = ElementTree.fromstring(text)
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith("#") for link in links)
        assert not any(e.tag.endswith("image") for e in root.iter())


def test_every_mark_is_numbered_and_explained(tmp_path: Path):
    write_timeline(tmp_path / "schedule.svg", example())
    root = ElementTree.fromstring((tmp_path / "schedule.svg").read_text(encoding="utf-8"))
    said = ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("text")]
    for number, mark in enumerate(MARKS, start=1):
        assert str(number) in said
        assert any(f"{mark.at_s:.1f} s" in line and mark.what in line and mark.why in line for line in said), said
    bold = [e for e in root.iter() if "bold" in e.attrib.get("style", "") or "700" in e.attrib.get("style", "")]
    heights = {e.attrib["y"] for e in bold[:2]}
    assert len(heights) == 2, "numbers of the same second do not cover each other"


def test_series_of_other_lengths_are_refused():
    with pytest.raises(
        ValueError, match=r"Timeline: expected as many yaws and keyframes as times, at least one, got \(2, 1, 2\)"
    ):
        Timeline([0.0, 1.0], [0.0], [1, 2], [])
    with pytest.raises(ValueError, match=r"got \(0, 0, 0\)"):
        Timeline([], [], [], [])
