"""The commands put together, and what every error looks like."""

import codecs
import functools
import io
import itertools
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from tensorpress.cli import (
    bench,
    compare,
    compress,
    demo,
    doctor,
    evaluate,
    explore,
    export,
    report,
    reproduce,
    train,
)
from tensorpress.errors import TensorpressError, first_line, is_too_large
from tensorpress.version import VERSION

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""
UNHEARD = 141
"""Where nobody takes what is printed any more, as after `| head`; shells have it for SIGPIPE."""

app = typer.Typer(
    name="tensorpress",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("compress")(compress.compress)
app.command("explore")(explore.explore)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.command("train")(train.train)
app.command("finetune")(train.finetune)
app.command("run")(train.run)
app.command("report")(report.report)
app.command("compare")(compare.compare_methods)
app.command("doctor")(doctor.doctor)
app.command("reproduce")(reproduce.reproduce_table)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"tensorpress {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make a trained CNN smaller: decompose its convolutions, fine-tune, see what it cost.

    See it work, on data that is already here: tensorpress demo

    Compress your network: tensorpress compress --net resnet56 --weights FILE --energy 0.8 -o OUT

    Win its accuracy back: tensorpress finetune --compressed OUT/model.tp --data DIR -o RUN

    Every command has its own --help. Exit codes: 0 it is done, 1 a fault of tensorpress, 2 what is
    given is to be mended, 130 stopped by Ctrl-C, 141 nobody reads on, as after | head.
    NO_COLOR=1 leaves colours out.
    """


def main() -> None:
    """Run the command line.

    Exit code 0 on success, 2 with one message on a user's mistake, 130 after Ctrl-C, 141 where
    nobody takes what is printed, and 1 with a traceback on a fault of ours.
    """
    _print_whatever_there_is()
    try:
        _refuse_nothing(sys.argv[1:])
        _commands()()
    except TensorpressError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError, TypeError) as error:
        if not is_too_large(error):
            raise
        print(
            f"error: there is not enough memory for that ({first_line(error)}): ask for fewer "
            "images at once, or smaller ones.",
            file=sys.stderr,
        )
        sys.exit(2)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # of which typer makes a fault
            sys.exit(UNHEARD)
        if end.code == STOPPED:  # typer has caught Ctrl-C, and says nothing
            print("stopped.", file=sys.stderr)
        raise


@functools.cache
def _commands() -> Callable[..., Any]:
    """All that typer reads off the commands, which takes as long as a small one runs."""
    return typer.main.get_command(app)


def _print_whatever_there_is() -> None:
    """Let no character stop a command where the terminal or the file does not know it.

    Bytes of file names that are no text are printed as they are; else "?" stands for it.
    """

    def known(error: UnicodeError) -> tuple[bytes, int]:
        assert isinstance(error, UnicodeEncodeError)
        text = error.object[error.start : error.end]
        codes = (ord(it) - 0xDC00 if "\udc80" <= it <= "\udcff" else ord("?") for it in text)
        return bytes(codes), error.end

    codecs.register_error("tensorpress", known)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="tensorpress")


def _refuse_nothing(words: list[str]) -> None:
    """Raise for an empty word, which a shell makes of a variable that is not set.

    As a path it would stand for the working directory.

    Raises:
        TensorpressError: it names the option.
    """
    for before, word in itertools.pairwise(("tensorpress", *words)):
        option, is_option, value = word.partition("=")
        if word == "" or (word.startswith("--") and is_option and value == ""):
            raise TensorpressError(
                f"there is nothing after {option or before}: give a value, or leave it out."
            )
