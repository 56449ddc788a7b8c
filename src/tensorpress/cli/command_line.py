"""The command line of this process."""

import shlex
import sys


def command_line() -> str:
    """As it is typed into a shell; files record it beside what it made."""
    return shlex.join(["tensorpress", *sys.argv[1:]])
