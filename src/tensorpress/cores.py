"""How many processors there are for this process."""

import os


def usable_cores() -> int:
    """Those that it may use, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
