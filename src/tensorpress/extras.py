"""Packages that pip's extras install, imported when they are needed."""

import importlib
from collections.abc import Sequence
from typing import Any

from tensorpress.errors import TensorpressError


def import_runtimes(extra: str, names: Sequence[str]) -> dict[str, Any]:
    """The modules of these names, which pip's extra ``extra`` installs.

    Raises:
        TensorpressError: one of them cannot be imported.
    """
    modules = {}
    for name in names:
        try:
            modules[name] = importlib.import_module(name)
        except ImportError as error:
            raise TensorpressError(
                f"{extra} export needs {name}, which cannot be imported ({error}): "
                f"pip install 'tensorpress[{extra}]'"
            ) from error
    return modules
