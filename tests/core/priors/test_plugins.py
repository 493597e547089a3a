"""Map sources from other packages. Kinds: behaviour, refusal. Packages are metadata folders on the path, as pip leaves them."""

from pathlib import Path

import pytest

from fmgs_core.priors import MapModel, Prior
from fmgs_core.priors.plugins import load_plugin, parsed_options, plugin_names

CODE = """
from fmgs_core.types import PriorMaps
class EveryFrame:
    def __init__(self, options): self.options = options
    def predict(self, frame): return PriorMaps()
    def close(self): pass
class Slow(EveryFrame):
    name = "slow"
    def maps(self, frame, person): return PriorMaps()
    predict = None
def neither(options): return object()
def picky(options): raise ValueError(f"toy options: expected none, got {sorted(options)}")
"""


def install(folder: Path, package: str, **entries: str) -> None:
    info = folder / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    lines = (f"{name} = {value}" for name, value in entries.items())
    (info / "entry_points.txt").write_text("\n".join(["[fmgs.priors]", *lines]) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "toy_maps_for_tests.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = "toy_maps_for_tests"
    install(tmp_path, "toy", every=f"{module}:EveryFrame", slow=f"{module}:Slow", neither=f"{module}:neither",
            picky=f"{module}:picky", gone="no_such_module_at_all:make")  # fmt: skip
    return tmp_path


def test_installed_factories_are_found_by_name_and_get_the_options(site: Path):
    assert {"every", "slow", "neither", "picky", "gone"} <= set(plugin_names())
    every, slow = load_plugin("every", {"a": "1"}), load_plugin("slow", {})
    assert isinstance(every.made, Prior) and every.made.options == {"a": "1"}
    assert isinstance(slow.made, MapModel) and not callable(slow.made.predict)
    assert (every.name, every.package) == ("every", "toy 0.1")


def test_what_cannot_be_used_is_refused_by_name(site: Path):
    with pytest.raises(ValueError, match=r"prior 'neither' of toy 0.1: expected a Prior or a MapModel, got object"):
        load_plugin("neither", {})
    with pytest.raises(ValueError, match=r"toy options: expected none, got \['b'\]"):
        load_plugin("picky", {"b": "2"})
    with pytest.raises(ImportError, match="no_such_module_at_all"):
        load_plugin("gone", {})
    with pytest.raises(ValueError, match="prior 'unheard': expected one installed package with it, got none"):
        load_plugin("unheard", {})


def test_two_packages_with_one_name_are_refused_by_both(site: Path):
    install(site, "rival", every="toy_maps_for_tests:Slow")
    with pytest.raises(ValueError, match=r"expected one installed package with it, got (toy 0.1, rival|rival 0.1, toy) 0.1"):
        load_plugin("every", {})


def test_options_are_pairs():
    assert parsed_options(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("pairs", [["a"], ["=1"], ["a=1", "a=2"]])
def test_other_options_are_refused(pairs: list[str]):
    with pytest.raises(ValueError, match="prior options: expected key=value, each key once, got"):
        parsed_options(pairs)
