"""Dataclasses as JSON values, and back from values that anyone may have written."""

import dataclasses
import math
import sys
import types
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tensorpress.errors import TensorpressError, shown

T = TypeVar("T")
MOST = 2**63
NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def to_json(value: Any) -> Any:
    """``value`` with dataclasses and mappings as objects, sequences as lists, and plain numbers."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(inner) for inner in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else str(value)


def from_json(kind: type[T], content: Any, where: str = "") -> T:
    """The dataclass of this kind whose fields are the values of the object ``content``.

    A field that has a default may be left out. ``where`` is put before the keys in messages.

    Raises:
        TensorpressError: no object, a key that the kind lacks, or a value of another type.
    """
    hints = get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]  # type: ignore[arg-type]
    refuse_unknown(content, names, where)
    values = {
        name: from_json_value(hints[name], content[name], f"{where}{name}")
        for name in names
        if name in content
    }
    required = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for name in required:
        if name not in values:
            raise TensorpressError(f"{where}{name} is missing.")
    if required == names:  # in the order of the fields, as some take them by position alone
        return kind(*(values[name] for name in names))
    return kind(**values)


def from_json_value(kind: Any, value: Any, key: str) -> Any:
    """``value`` as this kind: bool, int, float, str, tuple[kind, ...], or one of these or None.

    Raises:
        TensorpressError: a value of another type.
    """
    if get_origin(kind) in (Union, types.UnionType):
        (inner,) = [option for option in get_args(kind) if option is not type(None)]
        return None if value is None else from_json_value(inner, value, key)
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if not isinstance(value, list):
            raise wrong(key, value, "a list")
        return tuple(from_json_value(inner, item, key) for item in value)
    if kind in (int, float) and type(value) is int and abs(value) < MOST:
        return value
    if kind is int:
        raise wrong(key, value, NAMES[kind])
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise wrong(key, value, NAMES[kind])
    return value


def is_number(value: Any) -> bool:
    """Whether a value that JSON gave is a finite number; true and false are none."""
    most = sys.float_info.max
    return type(value) in (int, float) and -most <= value <= most


def flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of an object and of those in it, by their keys joined by dots.

    >>> flat({"recipe": {"lr": 0.1}, "seed": 0})
    {'recipe.lr': 0.1, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def refuse_unknown(content: Any, names: list[str], where: str = "") -> None:
    """Raise TensorpressError unless ``content`` is an object with no other keys than ``names``."""
    if not isinstance(content, Mapping):
        raise wrong(where.rstrip(".") or "a request", content, "an object")
    for key in content:
        if key not in names:
            raise TensorpressError(
                f"'{printable(f'{where}{key}')}' is no key of it; there is: {', '.join(names)}."
            )


def printable(key: str) -> str:
    """A key from a file on one line, and not too long."""
    return repr(key)[1:-1][:80]


def wrong(key: str, value: object, wanted: str) -> TensorpressError:
    """The error for a value of another type than is ``wanted``."""
    return TensorpressError(f"{printable(key)} is {shown(value)}: give {wanted}.")
