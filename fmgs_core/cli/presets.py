"""`--preset` of run and eval: read before everything else, because it decides what the other flags start from."""

from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass
from itertools import pairwise
from typing import Annotated, Any

import tyro

from fmgs_core.config import PRESETS

FLAG = "--preset"


def chosen_preset(arguments: Sequence[str]) -> str:
    """What --preset says, or "cpu"; a table of the paper without --preset is measured with "paper". An unknown name is left
    to the parser to refuse."""
    given = [b for a, b in pairwise(arguments) if a == FLAG]
    given += [a.split("=", 1)[1] for a in arguments if a.startswith(f"{FLAG}=")]
    table = any(a == "--table" or a.startswith("--table=") for a in arguments)
    return next((name for name in given if name in PRESETS), "paper" if table else "cpu")


def subcommands(commands: dict[str, type], preset: str) -> Any:
    """A union for tyro of the commands, of which those with a `preset` start from its configuration."""
    annotated = [Annotated[_started_from(command, preset), tyro.conf.subcommand(name)] for name, command in commands.items()]
    union: Any = annotated[0]
    for other in annotated[1:]:
        union |= other
    return union


def _started_from(command: type, preset: str) -> type:
    """The same command with other defaults: a subclass, since tyro takes defaults as a whole instance or by field only."""
    types = {f.name: f.type for f in fields(command)}
    if "preset" not in types:
        return command
    values = {"preset": preset, "config": PRESETS[preset]}
    changed = [(name, types[name], field(default=value)) for name, value in values.items()]
    return make_dataclass(command.__name__, changed, bases=(command,), frozen=True, namespace={"__doc__": command.__doc__})
