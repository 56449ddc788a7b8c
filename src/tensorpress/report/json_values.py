"""JSON that anyone may have altered, value by value."""

import math
from pathlib import Path
from typing import Any

from tensorpress.errors import TensorpressError
from tensorpress.files import read_json

MOST = 2**62


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no file.

    Raises:
        TensorpressError: the file cannot be read, or holds something else.
    """
    content = _read(path)
    if content is None or isinstance(content, dict):
        return content
    raise TensorpressError(f"{path} holds no JSON object: it is damaged or foreign.")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The JSON list of objects in a file; none where there is no file.

    Raises:
        TensorpressError: the file cannot be read, or holds something else.
    """
    content = _read(path)
    if content is None:
        return []
    if isinstance(content, list) and all(isinstance(row, dict) for row in content):
        return content
    raise TensorpressError(f"{path} holds no list of JSON objects: it is damaged or foreign.")


def number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < MOST and math.isfinite(value) else None


def whole(value: Any) -> int | None:
    """A number of things, 0 or more; None for anything else."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def inside(tree: Any, *keys: str) -> Any:
    """The value under ``keys``, one within the other; None where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _read(path: Path) -> Any:
    if not path.exists():
        return None
    return read_json(path, "restore it, or report on another run.")
