"""The command line: ``tensorpress COMMAND``."""

from tensorpress.cli.app import main

__all__ = ["main"]
