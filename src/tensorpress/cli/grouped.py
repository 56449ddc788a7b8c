"""Options that several commands share, as a dataclass that each of them takes."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from tensorpress.cli.options import read_ranks
from tensorpress.errors import TensorpressError
from tensorpress.settings import OptionOf, options_of
from tensorpress.settings.options import holds_texts


@dataclasses.dataclass(frozen=True)
class AsOptions:
    """Marks a parameter of a command as a dataclass whose fields say themselves what options set.

    Attributes:
        read: makes the dataclass of the options that were given, by parameter, and of the file
            that --config names; what neither says is as by default.
        only: the options that the command has; by default all of them.
        told: what stands in the help texts for names in braces.
    """

    read: Callable[[Mapping[str, Any], Any], Any]
    only: tuple[str, ...] | None = None
    told: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def options(self, kind: type) -> list[OptionOf]:
        """Those of the options of the dataclass ``kind`` that the command has."""
        return [
            known
            for known in options_of(kind)
            if self.only is None or known.option.parameter in self.only
        ]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option for each field of the dataclasses among its parameters.

    typer reads the options of a command from its signature, which has no room for a group of them.
    The annotation and default of a field are what a parameter of the command would have; the
    fields of a dataclass that is marked by :class:`AsOptions` hold the same as data.
    """
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    groups: dict[str, Any] = {
        name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)
    }
    marked = {
        name: (get_args(kind)[0], mark)
        for name, kind in hints.items()
        if get_origin(kind) is Annotated and isinstance(mark := get_args(kind)[1], AsOptions)
    }
    options: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name in marked:
            kind, mark = marked[parameter.name]
            options += [
                _parameter(parameter, known, known.option.help.format(**mark.told))
                for known in mark.options(kind)
            ]
        elif parameter.name in groups:
            options += _fields(parameter, groups[parameter.name])
        else:
            options.append(parameter.replace(annotation=hints[parameter.name]))
    if marked and "context" not in hints:
        options.append(
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        )

    @functools.wraps(command)
    def run(**given: Any) -> None:
        context = given["context"] if "context" in hints else given.pop("context", None)
        for name, group in groups.items():
            given[name] = group(**{f.name: given.pop(f.name) for f in dataclasses.fields(group)})
        for name, (kind, mark) in marked.items():
            asked = {}
            for known in mark.options(kind):
                value = given.pop(known.option.parameter)
                if is_given(context, known.option.parameter):
                    asked[known.option.parameter] = _value(known, value)
            given[name] = mark.read(asked, given.get("config"))
        command(**given)

    del run.__wrapped__
    run.__annotations__ = {option.name: option.annotation for option in options}
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    return run


def is_given(context: typer.Context, parameter: str) -> bool:
    """Whether the command line says what the parameter is."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def options_given(context: typer.Context) -> list[str]:
    """The options that the command line gives, in the order of ``--help``."""
    return [
        parameter.secondary_opts[0]
        if context.params[parameter.name] is False and parameter.secondary_opts
        else parameter.opts[0]
        for parameter in context.command.params
        if parameter.param_type_name == "option" and is_given(context, parameter.name)
    ]


def refuse_given(
    context: typer.Context, why: str, *, among: Sequence[str] = (), but: Sequence[str] = ()
) -> None:
    """Raise for options that the command line gives for nothing: those ``among``, or all ``but``.

    Raises:
        TensorpressError: it names them, and says why.
    """
    given = options_given(context)
    idle = [name for name in given if name not in but and (not among or name in among)]
    if idle:
        raise TensorpressError(f"{' and '.join(idle)}: {why}")


def _fields(parameter: inspect.Parameter, group: Any) -> list[inspect.Parameter]:
    kinds = get_type_hints(group, include_extras=True)
    return [
        parameter.replace(name=field.name, annotation=kinds[field.name], default=field.default)
        for field in dataclasses.fields(group)
    ]


def _parameter(parameter: inspect.Parameter, known: OptionOf, told: str) -> inspect.Parameter:
    option = known.option
    kind: Any = known.kind
    if holds_texts(kind):
        kind = list[str] | None
    elif get_origin(kind) is tuple:
        kind = str | None
    elif known.default is None:
        kind = kind | None
    shown = typer.Option(option.name, help=told, rich_help_panel=option.panel, min=option.least)
    return parameter.replace(
        name=option.parameter,
        annotation=Annotated[kind, shown],
        default=known.default or None if holds_texts(known.kind) else known.default,
    )


def _value(known: OptionOf, value: Any) -> Any:
    if holds_texts(known.kind):
        return tuple(value)
    return read_ranks(value) if get_origin(known.kind) is tuple else value
