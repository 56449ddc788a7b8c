"""The metrics of a run: one JSON object a line, a line an epoch."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorpress.errors import TensorpressError
from tensorpress.files import write_whole
from tensorpress.settings import is_number

NUMBERS = ("lr", "loss", "train_acc", "test_acc", "seconds")
"""What the metrics have of an epoch besides its phase and number."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of ``path``; one that is damaged or was cut short is left out."""
    lines = []
    for text in _text(path).splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            continue
        if _is_whole(line):
            lines.append(line)
    return lines


def append_metrics(path: Path, line: dict[str, Any]) -> None:
    """Add a line and wait until it is on the disk.

    Raises:
        TensorpressError: the file cannot be written.
    """
    try:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TensorpressError(
            f"cannot write {path}: {error.strerror or error}. Free some space and start the same "
            "command again; the last checkpoint is unchanged."
        ) from error


def keep_metrics(path: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Keep the lines that are ``wanted``, and no other; half lines go too."""
    kept = "".join(json.dumps(line) + "\n" for line in read_metrics(path) if wanted(line))
    if path.exists() and _text(path) != kept:
        write_whole(path, kept)


def _is_whole(line: Any) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("phase"), str):
        return False
    numbers = [line[key] for key in NUMBERS if line.get(key) is not None]
    return type(line.get("epoch")) is int and all(map(is_number, numbers))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
