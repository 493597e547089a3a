"""A nested configuration dataclass as a flat list of ROS parameters, and back. No ROS needed.

ROS has no null: None is NaN for a number, 0 for a whole number, "" for a text, zeros for a tuple.
"""

import ast
import inspect
import math
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

C = TypeVar("C")
Value = bool | int | float | str | list[int] | list[float] | list[str]
"""What a parameter can hold."""

# Ends of a range that the configuration leaves open.
_OPEN = {int: (-(2**63), 2**63 - 1), float: (-math.inf, math.inf)}
_FAR = {int: 10**12, float: 1e12}


@dataclass(frozen=True)
class Kind:
    """Type of a field, taken apart."""

    base: type
    """bool, int, float, str, Path, an Enum, or tuple."""
    optional: bool = False
    choices: tuple[str, ...] = ()
    element: type | None = None
    """Of a tuple: int, float or str."""
    length: int | None = None
    """Of a tuple of fixed length."""


@dataclass(frozen=True)
class Leaf:
    """One parameter."""

    path: str
    """Names from the outermost dataclass inwards, with dots."""
    kind: Kind
    value: Value
    """The default, as ROS holds it."""
    description: str
    bounds: tuple[float, float] | None
    """Smallest and largest value that the dataclass takes, open ends as those of the type; None where both are open and for
    what is not a number."""


def leaves(default: Any, prefix: str = "") -> list[Leaf]:
    """The parameters of a configuration, whose present values are the defaults.

    Raises:
        TypeError: a field of a type that no parameter can hold.
    """
    return [_leaf(owner, name, path) for path, owner, name in _paths(default, prefix)]


def built(default: C, values: Mapping[str, Value], prefix: str = "") -> C:
    """The configuration with the parameters in `values`; others keep their default.

    Raises:
        ValueError: as the dataclass says, or a number that is not finite.
    """
    changed = {}
    for field_name, kind_or_config in _members(default):
        path, present = prefix + field_name, getattr(default, field_name)
        if isinstance(kind_or_config, Kind):
            if path in values:
                changed[field_name] = _decoded(kind_or_config, values[path], path)
        else:
            changed[field_name] = built(present, values, path + ".")
    return replace(default, **changed)  # pyright: ignore[reportArgumentType]: C is a dataclass, `fields` has seen to that


def encoded(kind: Kind, value: Any) -> Value:
    """A field's value as a parameter holds it."""
    if value is None:
        return _none(kind)
    if issubclass(kind.base, Enum):
        return value.value
    if kind.base is tuple:
        return [kind.element(v) for v in value] if kind.element else []
    return str(value) if kind.base is Path else kind.base(value)


@cache
def field_docs(owner: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, in one line; those of its bases where it has none."""
    docs = dict(field_docs(owner.__base__)) if owner.__base__ and is_dataclass(owner.__base__) else {}
    (class_,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(class_, ast.ClassDef)
    for statement, following in zip(class_.body, class_.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.split())
    return docs


def bounds(owner: Any, name: str, number: type) -> tuple[float, float]:
    """Smallest and largest value of a number that the dataclass takes beside its present other values.

    The metadata `range` of the field says so, or else its __post_init__ is asked, which is where the rule is written: an end
    is found by bisection. An end that is itself not allowed ("more than zero") is given all the same.
    """
    declared = next(f for f in fields(owner) if f.name == name).metadata.get("range")
    if declared is not None:
        return declared

    def takes(value: float) -> bool:
        try:
            replace(owner, **{name: number(value)})
        except ValueError:
            return False
        return True

    inside = next((v for v in (getattr(owner, name), 1, 0.5, 2, 10, 100, 1000) if v is not None and takes(v)), None)
    if inside is None:
        raise TypeError(f"{type(owner).__name__}.{name}: no valid value found; give the field a metadata range")
    low, high = (_end(takes, number, inside, side) for side in (0, 1))
    return low, high


def _paths(config: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
    """Path, owner and field name of each leaf."""
    for name, kind_or_config in _members(config):
        if isinstance(kind_or_config, Kind):
            yield prefix + name, config, name
        else:
            yield from _paths(kind_or_config, f"{prefix}{name}.")


def _members(config: Any) -> Iterator[tuple[str, Any]]:
    """Each field's name with its Kind, or with the nested configuration that it holds."""
    hints = get_type_hints(type(config))
    for field in fields(config):
        value = getattr(config, field.name)
        nested = is_dataclass(value) and not isinstance(value, type)
        yield field.name, value if nested else _kind(hints[field.name], f"{type(config).__name__}.{field.name}")


def _leaf(owner: Any, name: str, path: str) -> Leaf:
    kind = _kind(get_type_hints(type(owner))[name], path)
    value = encoded(kind, getattr(owner, name))
    number = kind.base if kind.base in (int, float) else None
    found = bounds(owner, name, number) if number else None
    if number is int and kind.optional and found and found[0] <= 0:
        raise TypeError(f"{path}: 0 stands for None, but {type(owner).__name__} takes a 0")
    closed = found if number and found != _OPEN[number] else None
    return Leaf(path, kind, value, _description(type(owner), name, kind), closed)


def _description(owner: type, name: str, kind: Kind) -> str:
    parts = [field_docs(owner).get(name) or f"{name.replace('_', ' ').capitalize()}. {_first_sentence(owner)}".strip()]
    if kind.choices:
        parts.append(f"One of: {', '.join(kind.choices)}.")
    if kind.optional:
        parts.append(f"None is written as {_NONE_IN_WORDS[_held(kind)]}.")
    return " ".join(parts)


_NONE_IN_WORDS = {float: "NaN (.nan)", int: "0", str: 'an empty text ("")', tuple: "zeros"}


def _first_sentence(owner: type) -> str:
    """Of the class's docstring; nothing where dataclass wrote it."""
    text = " ".join((owner.__doc__ or "").split())
    return "" if text.startswith(f"{owner.__name__}(") else text.split(". ")[0].removesuffix(".") + "."


def _kind(hint: Any, path: str) -> Kind:
    arguments = get_args(hint)
    if get_origin(hint) in (types.UnionType, Literal) or type(None) in arguments:
        if type(None) in arguments and len(arguments) == 2:
            inner = _kind(next(a for a in arguments if a is not type(None)), path)
            return replace(inner, optional=True)
        if get_origin(hint) is Literal and all(isinstance(a, str) for a in arguments):
            return Kind(str, choices=arguments)
    elif get_origin(hint) is tuple and arguments and arguments[0] in (int, float, str):
        return Kind(tuple, element=arguments[0], length=None if arguments[-1] is ... else len(arguments))
    elif hint in (bool, int, float, str, Path):
        return Kind(hint)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        return Kind(hint, choices=tuple(str(member.value) for member in hint))
    raise TypeError(f"{path}: expected a type that a parameter can hold, got {hint}")


def _held(kind: Kind) -> type:
    return kind.base if kind.base in (float, int, tuple) else str


def _none(kind: Kind) -> Value:
    if kind.base is tuple and kind.length is None:
        raise TypeError("a tuple of any length cannot be None: an empty parameter array has no type")
    return {float: math.nan, int: 0, str: "", tuple: [kind.element(0)] * (kind.length or 0) if kind.element else []}[
        _held(kind)
    ]


def _decoded(kind: Kind, value: Any, path: str) -> Any:
    if kind.optional and (value == _none(kind) or (kind.base is float and math.isnan(value))):
        return None
    if kind.choices and value not in kind.choices:
        raise ValueError(f"{path}: expected one of {', '.join(kind.choices)}, got {value!r}")
    if kind.base is tuple:
        return tuple(_finite(v, path) for v in value)
    return kind.base(_finite(value, path))


def _finite(value: Any, path: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}: expected a finite number, got {value}")
    return value


def _end(takes: Callable[[float], bool], number: type, inside: float, side: int) -> float:
    """The last value towards -infinity (side 0) or infinity (side 1) that is taken, to six digits."""
    far = _FAR[number] if side else -_FAR[number]
    if takes(far):
        return _OPEN[number][side]
    inner, outer = inside, far
    while abs(outer - inner) > (1 if number is int else 1e-9 * max(1.0, abs(inner))):
        middle = (inner + outer) // 2 if number is int else (inner + outer) / 2
        inner, outer = (middle, outer) if takes(middle) else (inner, middle)
    return int(inner) if number is int else _rounded(inner)


def _rounded(value: float) -> float:
    return 0.0 if abs(value) < 1e-8 else float(f"{value:.6g}")
