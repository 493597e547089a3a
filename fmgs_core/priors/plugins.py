"""Map sources from other packages: each names a factory in the entry point group `fmgs.priors` (docs/priors.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from fmgs_core.priors import MapModel, Prior

GROUP = "fmgs.priors"
"""A factory takes the user's options, Mapping[str, str], raises ValueError for what it does not know, and gives a Prior (looks
at every frame) or a MapModel (looks at keyframes beside the stream)."""


@dataclass(frozen=True)
class Plugin:
    """What a factory made, and where it came from."""

    made: Prior | MapModel
    name: str
    package: str
    """Distribution and version: "depthcam_priors 0.1"."""


def plugin_names() -> list[str]:
    """Of those that are installed."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def load_plugin(name: str, options: Mapping[str, str]) -> Plugin:
    """Imports the package that has the factory `name`, and calls it.

    Raises:
        ValueError: no or more than one factory of that name, one that made something else, or options that it refuses.
        ImportError: the package cannot be imported.
    """
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if len(found) != 1:
        got = ", ".join(_package(entry) for entry in found) or "none"
        raise ValueError(f"prior {name!r}: expected one installed package with it, got {got}")
    made = found[0].load()(dict(options))
    if not isinstance(made, Prior | MapModel):
        raise ValueError(f"prior {name!r} of {_package(found[0])}: expected a Prior or a MapModel, got {type(made).__name__}")
    return Plugin(made, name, _package(found[0]))


def parsed_options(pairs: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Texts of the form key=value.

    Raises:
        ValueError: another form, or a key twice.
    """
    options: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals) or key in options:
            raise ValueError(f"prior options: expected key=value, each key once, got {pair!r}")
        options[key] = value
    return options


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
