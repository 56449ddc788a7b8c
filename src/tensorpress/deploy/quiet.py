"""Exporters without their chatter."""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator


class _Nowhere(io.StringIO):
    """Where chatter goes; a progress bar of rich still finds the terminal through it."""

    def __init__(self) -> None:
        super().__init__()
        self.rich_proxied_file = getattr(sys.stderr, "rich_proxied_file", sys.stderr)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no log lines below errors, nothing printed; exceptions pass as they are."""
    level = logging.root.manager.disable
    logging.disable(max(level, logging.WARNING))
    nowhere = _Nowhere()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
