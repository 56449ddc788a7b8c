"""What a measurement was taken on."""

import contextlib
import platform
import re
from functools import cache
from pathlib import Path


@cache
def processor() -> str:
    """The name of the processor, as the system gives it."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()
