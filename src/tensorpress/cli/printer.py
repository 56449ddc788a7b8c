"""What a command prints: its result, notes and warnings; as text, quietly, or as JSON."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import typer
from rich.console import Console
from rich.table import Table

from tensorpress.errors import TensorpressError
from tensorpress.progress import silenced


class Prospect(Protocol):
    """What some work would come to, as it is told before the work is done."""

    def to_dict(self) -> dict[str, Any]: ...


class Printer:
    """Prints what a command has to say, where and as far as it was asked for.

    By default all of it goes to standard output as it comes. ``quiet`` leaves out notes and prints
    at the end the paths of what was written, or where nothing was, the result. ``as_json`` prints
    at the end the result as one JSON document, and notes on standard error. Warnings are always
    printed, then on standard error. Made by :func:`printing`.

    Where nobody takes what is printed any more, as `head` does after its lines, or a disk is full,
    the work goes on to its end, so that files are written, and the failure is raised there.
    """

    def __init__(self, output: TextIO, *, quiet: bool, as_json: bool) -> None:
        self._output, self._quiet, self._as_json = output, quiet, as_json
        self._results: list[str | Table] = []
        self._written: list[Path] = []
        self._values: Any = None
        self._failure: OSError | None = None

    def result(self, shown: str | Table) -> None:
        """What was asked for, or a part of it, as text."""
        self._results.append(shown)
        if not self._quiet and not self._as_json:
            self._print(shown)

    def values(self, values: Any) -> None:
        """What was asked for, all of it, as JSON values."""
        self._values = values

    def written(self, path: Path, beside: Sequence[str] = ()) -> None:
        """That the file or folder ``path`` was written, with files of the names ``beside`` it."""
        self._written.append(path)
        also = f", with {', '.join(beside)} beside it" if beside else ""
        self.note(f"written to {path}{also}")

    def foreseen(self, prospect: Prospect, files: Sequence[Path]) -> None:
        """What a command would do and which of its files it would write, in place of doing it."""
        lines = [str(prospect)]
        for file in files:
            there = ", in place of the one that is there" if file.exists() else ""
            lines.append(f"would write {file}{there}")
        self.result("\n".join(lines))
        self.values({**prospect.to_dict(), "files": [str(file) for file in files]})

    def note(self, text: str) -> None:
        """What helps to understand the result, or what to do next."""
        if not self._quiet:
            self._print(text, sys.stderr if self._as_json else self._output)

    def warning(self, text: str) -> None:
        """What the result must not be read without."""
        self._print(text, sys.stderr if self._quiet or self._as_json else self._output)

    def end(self) -> None:
        """Print what waits for the end of the command.

        Raises:
            BrokenPipeError: nobody took what was printed.
            TensorpressError: it could not be written.
        """
        if self._as_json:
            if self._values is not None:
                self._print(json.dumps(self._values, indent=1))
        elif self._quiet:
            for shown in self._written or self._results:
                self._print(str(shown) if isinstance(shown, Path) else shown)

        if isinstance(self._failure, BrokenPipeError):
            raise self._failure
        if self._failure is not None:
            raise TensorpressError(
                f"what there is to say cannot be printed: {self._failure.strerror}; all else is "
                "done."
            ) from self._failure

    def _print(self, shown: str | Table, file: TextIO | None = None) -> None:
        if self._failure is not None:
            return
        try:
            if isinstance(shown, Table):
                Console(file=file or self._output).print(shown)
            else:
                typer.echo(shown, file=file or self._output)
        except OSError as error:
            self._failure = error


@contextlib.contextmanager
def printing(*, quiet: bool, as_json: bool) -> Iterator[Printer]:
    """A printer for the work of a command; an error leaves out what waits for the end.

    Whatever else is printed on standard output, such as the epochs of a training or by code of the
    user's, goes to standard error beside JSON, and nowhere if ``quiet``; so does progress.
    """
    printer = Printer(sys.stdout, quiet=quiet, as_json=as_json)
    with contextlib.ExitStack() as stack:
        if quiet:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(silenced())
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        elif as_json:
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield printer
    printer.end()
