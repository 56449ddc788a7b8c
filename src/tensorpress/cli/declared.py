"""Commands that say what they take, and are imported when they run."""

import functools
import importlib
from collections.abc import Callable
from typing import Any


def declared(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with the work of the function of its name in :mod:`tensorpress.cli.work`.

    The options of a command are asked for much more often than it runs, by ``--help`` and by what
    completes a command line; its work needs PyTorch, which takes seconds to import.
    """
    module = command.__module__.rpartition(".")[2]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        work = importlib.import_module(f"tensorpress.cli.work.{module}")
        getattr(work, command.__name__)(**given)

    return run
