"""`fmgs doctor`: what is installed, what will be used, and what to install for the rest."""

from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fmgs_core.doctor import Status, diagnose, healthy, inspect_machine

_STYLE = {Status.OK: "green", Status.MISSING: "yellow", Status.PROBLEM: "bold red"}


@dataclass(frozen=True)
class Doctor:
    """Say what is installed, which backends will be used, and what to install for the rest."""

    def run(self) -> int:
        checks = diagnose(inspect_machine())
        table = Table("", "what", "found", "to get it", box=None, pad_edge=False)
        for check in checks:
            style = _STYLE[check.status]
            table.add_row(f"[{style}]{check.status.value}[/]", *map(escape, (check.name, check.detail, check.remedy)))
        Console().print(table)
        return 0 if healthy(checks) else 1
