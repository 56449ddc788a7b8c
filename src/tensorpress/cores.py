"""How many processors there are for this process, and threads that it may be asked for."""

import os

from tensorpress.errors import TensorpressError, shown

MOST_THREADS = 1024
"""Of a forward pass; PyTorch does not survive to be asked for some thousands."""


def usable_cores() -> int:
    """Those that it may use, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def refuse_threads(threads: int | None) -> None:
    """Raise where ``threads`` are neither left open, None, nor a sensible number.

    Raises:
        TensorpressError: no whole number from 1 to `MOST_THREADS`.
    """
    if threads is not None and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise TensorpressError(
            f"threads={shown(threads)}: give a whole number from 1 to {MOST_THREADS:,}."
        )
