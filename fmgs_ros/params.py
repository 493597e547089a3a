"""Parameters of a node are the leaves of its configuration dataclass: one default, one description, one rule, in one place."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult

from fmgs_ros.parameter_tree import Leaf, built, leaves

C = TypeVar("C")


def declare(
    node: Any,
    default: Any,
    prefix: str = "",
    *,
    restart: Collection[str] = (),
    live: Collection[str] = (),
    on_change: Callable[[Any], None] | None = None,
) -> None:
    """Declares every leaf, and from then on refuses whatever the dataclass refuses, with its words.

    Args:
        default: a configuration, or its class if that needs no arguments.
        prefix: put before every name, with its own dot at the end.
        restart: paths, or their beginnings, that cannot change while the process runs.
        live: paths, or their beginnings, that act at once through on_change; the others wait for the next configure.
        on_change: gets the configuration after every change.

    Raises:
        ValueError: the values from the command line or a file contradict the dataclass.
    """
    default = default() if isinstance(default, type) else default
    tree = leaves(default, prefix)
    node.declare_parameters("", [(leaf.path, leaf.value, _descriptor(leaf, prefix, restart, live)) for leaf in tree])
    read(node, default, prefix)
    paths = {leaf.path for leaf in tree}

    def check(changes: list[Any]) -> SetParametersResult:
        mine = {change.name: change.value for change in changes if change.name in paths}
        try:
            config = built(default, _values(node, tree) | mine, prefix)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if mine and on_change is not None:
            on_change(config)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)


def read(node: Any, default: C, prefix: str = "") -> C:
    """The configuration that the node's parameters say. `default` as it was declared.

    Raises:
        ValueError: as the dataclass says.
    """
    return built(default, _values(node, leaves(default, prefix)), prefix)


def _values(node: Any, tree: list[Leaf]) -> dict[str, Any]:
    return {leaf.path: node.get_parameter(leaf.path).value for leaf in tree}


def _descriptor(leaf: Leaf, prefix: str, restart: Collection[str], live: Collection[str]) -> ParameterDescriptor:
    path = leaf.path.removeprefix(prefix)
    descriptor = ParameterDescriptor(
        description=leaf.description,
        read_only=_within(path, restart),
        additional_constraints="" if _within(path, (*restart, *live)) else "Takes effect at the next configure.",
    )
    if leaf.bounds is not None and not leaf.kind.optional:
        _set_range(descriptor, leaf.kind.base, *leaf.bounds)
    elif leaf.bounds is not None:
        descriptor.additional_constraints = f"{_in_words(*leaf.bounds)} {descriptor.additional_constraints}".strip()
    return descriptor


def _in_words(low: float, high: float) -> str:
    return f"At least {low:g}." if high >= 2**63 - 1 else f"{low:g} to {high:g}."


def _set_range(descriptor: ParameterDescriptor, number: type, low: float, high: float) -> None:
    if number is int:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    else:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]


def _within(path: str, beginnings: Collection[str]) -> bool:
    return any(path == b or path.startswith(b + ".") for b in beginnings)
