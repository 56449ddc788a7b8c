"""The program called in this process, and what it gives."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tensorpress.cli import main


@dataclass(frozen=True)
class Answer:
    """Exit code, standard output and standard error."""

    code: int
    out: str
    err: str


Command = Callable[..., Answer]
"""``tensorpress ARGUMENTS``, in this process."""


def caller(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """What calls the program with the arguments that it is given."""

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
