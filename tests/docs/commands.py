"""Command lines as the pages show them: checked, and run where they can be."""

import re
import shlex
import tomllib
from collections.abc import Callable

import typer
from pages import ROOT

from tensorpress.cli.app import app

Run = Callable[[list[str]], None]
_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_TARGETS = set(re.findall(r"^([\w-]+):", _MAKEFILE, re.M))


def command_lines(text: str) -> list[list[str]]:
    """The words of each command of a console block, which holds nothing else."""
    lines = text.replace("\\\n", " ").splitlines()
    assert all(line.startswith("$ ") for line in lines), text
    return [shlex.split(line[2:], comments=True) for line in lines]


def check(words: list[str], run: Run) -> None:
    """Raise unless the command exists with its options; ``run`` takes those of tensorpress."""
    program, *rest = words
    if program == "tensorpress":
        run(rest)
    elif program == "make":
        given = {word.partition("=")[0] for word in rest if "=" in word}
        assert all(f"$({name})" in _MAKEFILE for name in given)
        assert {word for word in rest if "=" not in word} <= _TARGETS
    elif program == "accelerate":
        start = rest.index("-m")
        assert rest[start + 1] == "tensorpress"
        parse(rest[start + 2 :])
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[([\w,]+)\]", rest[-1])
        known = _PYPROJECT["project"]["optional-dependencies"]
        assert {extra for found in extras for extra in found.split(",")} <= known.keys()
    else:
        raise AssertionError(f"{program} is no command that the tests know")


def parse(words: list[str]) -> None:
    """Raise unless ``tensorpress WORDS`` is understood; nothing is run."""
    name, *rest = words
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert name in commands, f"there is no command {name}"
    try:
        commands[name].make_context(name, rest)
    except Exception as error:  # of click's own kinds
        raise AssertionError(str(error)) from error


def hurried(words: list[str]) -> list[str]:
    """The same with one epoch wherever it says how many, and few images where some calibrate."""
    once = [
        "1" if before.endswith("epochs") and word != "0" else word
        for before, word in zip(["", *words], words, strict=False)
    ]
    calibrates = (words[0] == "run" and "--config" not in words) or "--calibrate" in words
    return [*once, "--calibration-images", "32"] if calibrates else once
