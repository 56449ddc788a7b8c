"""No progress at all, for whoever asked for none."""

import contextlib
import contextvars
from collections.abc import Iterator

_SILENT = contextvars.ContextVar("silent", default=False)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Within the block no bar is drawn and no line of progress is said, whoever asks for one."""
    before = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(before)


def is_silent() -> bool:
    """Whether it is within :func:`silenced`."""
    return _SILENT.get()
