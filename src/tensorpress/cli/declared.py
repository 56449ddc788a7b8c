"""Commands that say what they take, and are imported when they run."""

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tensorpress.cli.options import OUTPUT
from tensorpress.cli.printer import printing

Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress and no notes: print the paths of what was written, or the bare result.",
        rich_help_panel=OUTPUT,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as one JSON document, all else on standard error.",
        rich_help_panel=OUTPUT,
    ),
]


def declared(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the work of the function of its name in :mod:`tensorpress.cli.work`.

    The options of a command are asked for much more often than it runs, by ``--help`` and by what
    completes a command line; its work needs PyTorch, which takes seconds to import.

    Every command so has --quiet and --json too, and its work is given a
    :class:`~tensorpress.cli.printer.Printer` as ``printer``.
    """
    module = command.__module__.rpartition(".")[2]

    @functools.wraps(command)
    def run(*, quiet: bool, as_json: bool, **given: Any) -> None:
        work = importlib.import_module(f"tensorpress.cli.work.{module}")
        with printing(quiet=quiet, as_json=as_json) as printer:
            getattr(work, command.__name__)(**given, printer=printer)

    common = {"quiet": Quiet, "as_json": AsJson}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in common.items()
    ]
    signature = inspect.signature(command)
    own = signature.parameters.values()
    run.__annotations__ = {**command.__annotations__, **common}
    run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return run
