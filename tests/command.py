"""The program called in this process, and what it gives."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tensorpress.cli import main
from tensorpress.progress.lines import ProgressLines


@dataclass(frozen=True)
class Answer:
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]
"""``tensorpress ARGUMENTS``, in this process."""


def without_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say nothing of progress: whether a line is due depends on how fast the machine is."""
    monkeypatch.setattr(ProgressLines, "say_if_due", lambda _: None)


def caller(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """What calls the program with the arguments that it is given."""

    without_lines(monkeypatch)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tensorpress", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as stopped:
            code = stopped.code or 0
        out, err = capfd.readouterr()
        assert isinstance(code, int)
        return Answer(code, out, err)

    return call
