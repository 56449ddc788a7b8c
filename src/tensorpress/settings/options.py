"""Dataclasses as options of a command line: which there are, what was given, and the words."""

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from tensorpress.errors import TensorpressError

T = TypeVar("T")
OPTION, PARTS, KINDS = "option", "parts", "kinds"


@dataclass(frozen=True)
class Option:
    """What a command line says of a setting.

    Attributes:
        name: "--energy", or "--balance/--no-balance".
        help, panel: what ``--help`` says of it, and under which heading.
        least: the least number that it takes.
        beside: parameters of which one has to be given for this one to count.
    """

    name: str
    help: str
    panel: str
    least: int | None = None
    beside: tuple[str, ...] = ()

    @property
    def parameter(self) -> str:
        """The name of the parameter that a command takes it as: "budget_params"."""
        return self.name.split("/")[0].removeprefix("--").replace("-", "_")


@dataclass(frozen=True)
class OptionOf:
    """An option of a dataclass: the kind of value that its field has, and the field's default."""

    option: Option
    kind: Any
    default: Any


def option(
    name: str,
    *,
    help: str,
    panel: str,
    least: int | None = None,
    beside: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Metadata of a field that an option sets."""
    return {OPTION: Option(name, help, panel, least, beside)}


def nested(kind: type) -> dict[str, Any]:
    """Metadata of a field with a dataclass, made where one of its options is given; else None."""
    return {PARTS: kind}


def one_of(kinds: Mapping[str, type]) -> dict[str, Any]:
    """Metadata of a field with one of several dataclasses, that whose option is given, or None.

    A dataclass without fields tells its flag, an :class:`Option`, as its attribute ``flag``.
    """
    return {KINDS: kinds}


def options_of(kind: type) -> list[OptionOf]:
    """The options of a dataclass, in the order of its fields."""
    hints, found = get_type_hints(kind), list[OptionOf]()
    for field in dataclasses.fields(kind):
        if OPTION in field.metadata:
            found.append(OptionOf(field.metadata[OPTION], hints[field.name], _default(field)))
        for inner in _inside(field):
            found += options_of(inner)
    if (flag := _flag(kind)) is not None:
        found.append(OptionOf(flag, bool, False))
    return found


def read_options(kind: type[T], given: Mapping[str, Any], base: T | None = None) -> T:
    """The dataclass that the options ``given`` make, by parameter; the rest is that of ``base``.

    Raises:
        TensorpressError: options of several kinds of which a field takes one, or what a dataclass
            says of its values.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if OPTION in field.metadata and field.metadata[OPTION].parameter in given:
            values[field.name] = given[field.metadata[OPTION].parameter]
        made = []
        for inner in _inside(field):
            part = getattr(base, field.name, None) if PARTS in field.metadata else None
            asked = _asked(inner, given, part)
            if asked:
                made.append(read_options(inner, asked, part))
        if len(made) > 1:
            raise TensorpressError(f"{' and '.join(map(str, made))} were both given: give one.")
        if made:
            values[field.name] = made[0]
    if base is not None:
        return dataclasses.replace(base, **values)  # type: ignore[type-var]
    if all(f.default is MISSING for f in dataclasses.fields(kind)):  # type: ignore[arg-type]
        return kind(*values.values())
    return kind(**values)


def given_by(settings: Any) -> tuple[dict[str, Any], list[str]]:
    """The options that make ``settings``, by parameter, and the fields that no option sets.

    What is at its default is left out.
    """
    given, unsaid = dict[str, Any](), list[str]()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value == _default(field):
            continue
        if OPTION in field.metadata:
            given[field.metadata[OPTION].parameter] = value
        elif type(value) in _inside(field):
            inner, missing = given_by(value)
            given |= inner
            unsaid += missing
        else:
            unsaid.append(field.name)
    if (flag := _flag(type(settings))) is not None:
        given[flag.parameter] = True
    return given, unsaid


def words_of(settings: Any) -> tuple[list[str], list[str]]:
    """The words of a command line that makes ``settings``, and the fields that none of them say."""
    given, unsaid = given_by(settings)
    words = list[str]()
    for known in options_of(type(settings)):
        if known.option.parameter in given:
            words += _words(known, given[known.option.parameter])
    return words, unsaid


def holds_texts(kind: Any) -> bool:
    """Whether it is tuple[str, ...], or that or None: an option that may be repeated."""
    return kind == tuple[str, ...] or tuple[str, ...] in get_args(kind)


def _words(known: OptionOf, value: Any) -> list[str]:
    name, _, opposite = known.option.name.partition("/")
    if known.kind is bool:
        return [name if value else opposite]
    if holds_texts(known.kind):
        return [word for text in value for word in (name, text)]
    if isinstance(value, tuple):
        return [name, ",".join(map(str, value))]
    return [name, value if isinstance(value, str) else repr(value)]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _inside(field: dataclasses.Field[Any]) -> list[type]:
    kinds: Mapping[str, type] = field.metadata.get(KINDS, {})
    return [field.metadata[PARTS]] if PARTS in field.metadata else list(kinds.values())


def _asked(kind: type, given: Mapping[str, Any], part: object) -> dict[str, Any]:
    options = [known.option for known in options_of(kind)]
    return {
        it.parameter: given[it.parameter]
        for it in options
        if it.parameter in given
        and (part is not None or not it.beside or any(name in given for name in it.beside))
    }


def _flag(kind: type) -> Option | None:
    flag = getattr(kind, "flag", None)
    return flag if isinstance(flag, Option) else None
