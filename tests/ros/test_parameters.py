"""Configuration dataclasses as flat parameters and back. Kind: round trip, behaviour on bad input, completeness."""

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from fmgs_core.config import PRESETS, SessionConfig
from fmgs_ros.diagnostics import DiagnosticsConfig
from fmgs_ros.parameter_tree import Leaf, bounds, built, field_docs, leaves


class Mood(Enum):
    CALM = "calm"
    WILD = "wild"


@dataclass(frozen=True)
class Inner:
    """What is inside."""

    share: float = 0.5
    """A share
    on two lines."""
    steps: int = 3
    undocumented: bool = False

    def __post_init__(self):
        if not 0 <= self.share <= 0.75:
            raise ValueError(f"Inner.share: expected 0 to 0.75, got {self.share}")
        if self.steps < 2:
            raise ValueError(f"Inner.steps: expected two or more, got {self.steps}")


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    height_m: float | None = None
    """Of the person."""
    side_px: int | None = None
    file: Path | None = None
    folder: Path = Path("out")
    kind: Literal["a", "b"] = "a"
    mood: Mood = Mood.CALM
    size_px: tuple[int, int] | None = None
    names: tuple[str, ...] = ("x",)
    tilted: float = field(default=1.0, metadata={"range": (-2.0, 2.0)})

    def __post_init__(self):
        if self.height_m is not None and not 0.5 <= self.height_m <= 2.5:
            raise ValueError(f"Outer.height_m: expected 0.5 to 2.5 m or None, got {self.height_m}")
        if self.side_px is not None and self.side_px < 1:
            raise ValueError(f"Outer.side_px: expected one or more, got {self.side_px}")


def tree(config: Any, prefix: str = "") -> dict[str, Leaf]:
    return {leaf.path: leaf for leaf in leaves(config, prefix)}


def test_every_kind_of_field_becomes_a_value_that_ros_can_hold():
    values = {path: leaf.value for path, leaf in tree(Outer()).items()}
    assert math.isnan(values.pop("height_m"))
    assert values == {
        "inner.share": 0.5, "inner.steps": 3, "inner.undocumented": False, "side_px": 0, "file": "", "folder": "out",
        "kind": "a", "mood": "calm", "size_px": [0, 0], "names": ["x"], "tilted": 1.0,
    }  # fmt: skip


def test_values_build_the_configuration():
    config = Outer(Inner(0.25, 7, True), 1.8, 640, Path("a.npz"), Path("b"), "b", Mood.WILD, (3, 4), ("p", "q"), -1.0)
    values = {leaf.path: leaf.value for leaf in leaves(config)}
    assert built(Outer(), values) == config


def test_none_comes_back_as_none():
    config = Outer(Inner(), 1.8, 640, Path("a"), size_px=(1, 2))
    nothing = {"height_m": math.nan, "side_px": 0, "file": "", "size_px": [0, 0]}
    assert built(config, nothing) == Outer()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_come_back(name: str):
    values = {leaf.path: leaf.value for leaf in leaves(PRESETS[name], "session.")}
    assert built(SessionConfig(), values, "session.") == PRESETS[name]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"inner.share": 0.8}, "Inner.share: expected 0 to 0.75, got 0.8"),
        ({"inner.share": math.inf}, "inner.share: expected a finite number"),
        ({"height_m": math.inf}, "height_m: expected a finite number"),
        ({"height_m": 3.0}, "Outer.height_m"),
        ({"kind": "c"}, "kind: expected one of a, b, got 'c'"),
        ({"mood": "CALM"}, "mood: expected one of calm, wild, got 'CALM'"),
    ],
)
def test_what_the_dataclass_refuses_is_refused_in_its_words(values: dict, said: str):
    with pytest.raises(ValueError, match=said):
        built(Outer(), values)


def test_ranges_come_from_the_rules():
    found = tree(Outer())
    assert found["inner.share"].bounds == (0.0, 0.75)
    assert found["inner.steps"].bounds == (2, 2**63 - 1)
    assert found["height_m"].bounds == (0.5, 2.5)
    assert found["tilted"].bounds == (-2.0, 2.0)
    assert found["kind"].bounds is None
    assert bounds(DiagnosticsConfig(), "stale_after_s", float) == (0.0, math.inf)


def test_descriptions_come_from_the_docstrings():
    found = tree(Outer())
    assert found["inner.share"].description == "A share on two lines."
    assert found["inner.undocumented"].description == "Undocumented. What is inside."
    assert found["height_m"].description == "Of the person. None is written as NaN (.nan)."
    assert found["mood"].description == "Mood. One of: calm, wild."


def test_docstrings_of_a_base_class_are_inherited():
    @dataclass(frozen=True)
    class More(Inner):
        extra: int = 0
        """Beside."""

    assert field_docs(More) == {"share": "A share on two lines.", "extra": "Beside."}


def test_every_parameter_of_a_session_is_described_and_every_number_has_an_end():
    for leaf in leaves(SessionConfig()):
        assert len(leaf.description) > 3, leaf.path
        if leaf.kind.base in (int, float) and leaf.path != "trainer.seed":
            assert leaf.bounds is not None, leaf.path


def test_a_field_that_no_parameter_can_hold_is_an_error():
    @dataclass(frozen=True)
    class Bad:
        table: dict = field(default_factory=dict)

    with pytest.raises(TypeError, match=r"Bad\.table"):
        leaves(Bad())


def test_a_zero_that_could_mean_none_is_an_error():
    @dataclass(frozen=True)
    class Ambiguous:
        count: int | None = None

    with pytest.raises(TypeError, match="0 stands for None"):
        leaves(Ambiguous())


def test_presets_differ_in_values_only():
    """Otherwise the parameter file of one would not fit the other."""
    for name in PRESETS:
        assert [leaf.path for leaf in leaves(PRESETS[name])] == [leaf.path for leaf in leaves(replace(PRESETS["cpu"]))], name
