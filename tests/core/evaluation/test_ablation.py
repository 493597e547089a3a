"""The ablation. Kinds: property (what a row changes, and nothing else), behaviour on a tiny sequence, round trip."""

import shutil
from dataclasses import fields, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fmgs_core.config import PRESETS, SessionConfig
from fmgs_core.evaluation import ablation
from fmgs_core.evaluation.ablation import (
    ADDED,
    COLUMNS,
    AblationConfig,
    AblationTable,
    Row,
    ablate,
    read_tables,
    table_markdown,
    tables_json,
    variants,
)
from fmgs_core.evaluation.ablation_picture import ablation_svg
from fmgs_core.session.events import Event, Finished, Preparing

CONFIG = SessionConfig(gaussians=0)
LOSSES = [name for _, group in ADDED for name in group]


def weights_of(row: str) -> dict[str, float]:
    return vars(variants(CONFIG)[row].trainer.weights)


def tables() -> tuple[AblationTable, ...]:
    rng = np.random.default_rng(0)
    names = list(variants(CONFIG))
    return tuple(
        AblationTable(maps, tuple(Row(name, {column: float(rng.uniform(1, 30)) for column in COLUMNS}) for name in names))
        for maps in ("recorded maps", "degraded maps")
    )


def test_each_row_adds_its_losses_to_the_one_above():
    before = weights_of("colour + mask")
    assert all(before[name] == 0 for name in (*LOSSES, "depth", "surface"))
    assert before["color"] > 0 and before["mask"] > 0
    printed = weights_of("+ L_d as printed")
    assert {name for name in printed if printed[name] != before[name]} == {"depth"}
    for row, group in ADDED:
        after = weights_of(row)
        assert {name for name in after if after[name] != before[name]} == set(group), row
        before = after
    assert all(before[name] > 0 for name in LOSSES)


def test_a_loss_that_is_off_is_measured_at_the_papers_weight():
    everything = weights_of(ADDED[-1][0])
    for name in LOSSES:
        ours, papers = (vars(c.trainer.weights) for c in (CONFIG, PRESETS["paper"]))
        # The paper's depth loss is over all pairs.
        assert everything[name] == (ours[name] or papers["depth" if name == "depth_order" else name]) > 0, name


def test_only_the_row_as_configured_has_light():
    rows = variants(CONFIG)
    assert rows.popitem()[1] == CONFIG
    assert all(row.trainer.rates.light == 0 for row in rows.values())


def test_comparisons_change_one_thing():
    rows = variants(CONFIG)
    everything = rows[ADDED[-1][0]]
    assert rows["all, routing none"] == replace(everything, trainer=replace(everything.trainer, routing="none"))
    for free, bound in (("all, free in 3-D", everything), ("colour + mask, free in 3-D", rows["colour + mask"])):
        a, b = vars(rows[free].trainer.weights), vars(bound.trainer.weights)
        # What would pull a Gaussian back to its face or to its neighbours.
        assert {name for name in a if a[name] != b[name]} == {"offset_smoothness", "rotation_decay"}
        assert rows[free].fields.geometry == "unbound"
        changed = {f.name for f in fields(SessionConfig) if getattr(rows[free], f.name) != getattr(bound, f.name)}
        assert changed == {"trainer", "fields"}


def test_every_row_is_measured_with_every_kind_of_maps(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two rows of six, so that the test takes seconds; without labels in the other maps, so that they tell apart."""
    rows = variants(CONFIG)
    kept = {name: rows[name] for name in ("colour + mask", "as configured")}
    monkeypatch.setattr(ablation, "variants", lambda config: kept)
    other = tmp_path / "other"
    shutil.copytree(tiny, other)
    shutil.rmtree(other / "train" / "label")
    said: list[Event] = []
    heard: list[tuple[str, str]] = []
    measured = ablate(tiny, AblationConfig(14, other), CONFIG, said.append, lambda maps, row: heard.append((maps, row.name)))
    assert [(t.maps, row.name) for t in measured for row in t.rows] == heard
    assert [t.maps for t in measured] == ["recorded maps", "degraded maps"]
    assert all(row.figures["iterations"] == 14 and COLUMNS.keys() <= row.figures.keys() for t in measured for row in t.rows)
    assert len([e for e in said if isinstance(e, Preparing)]) == 4 and not any(isinstance(e, Finished) for e in said)
    true, without = ({row.name: row.figures["miou28_view"] for row in t.rows} for t in measured)
    assert true["colour + mask"] == without["colour + mask"] and true["as configured"] > without["as configured"]


def test_iterations_are_checked():
    with pytest.raises(ValueError, match=r"AblationConfig.iterations: expected at least 1, got 0"):
        AblationConfig(iterations=0)


def test_tables_come_back_from_json():
    assert read_tables(tables_json(tables())) == tables()


def test_the_markdown_has_a_line_for_every_row():
    text = table_markdown(tables())
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 * (1 + len(variants(CONFIG)))
    assert all(line.count("|") == len(COLUMNS) + 2 for line in lines)
    first = tables()[0].rows[0]
    assert f"| {first.name} | {first.figures['psnr_view']:.2f} |" in text


def test_the_picture_stands_alone():
    svg = ablation_svg(tables())
    root = ElementTree.fromstring(svg)
    texts = " ".join(root.itertext())
    assert all(name in texts for name in variants(CONFIG)) and "degraded maps" in texts
    assert "prefers-color-scheme: dark" in svg and "#0302" not in svg and "#010101" not in svg
    assert not [value for element in root.iter() for name, value in element.attrib.items()
                if name.endswith("href") and not value.startswith("#")]  # fmt: skip
