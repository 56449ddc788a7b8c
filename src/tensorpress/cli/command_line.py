"""The command line of this process."""

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

_TYPED: ContextVar[tuple[str, ...] | None] = ContextVar("typed", default=None)


def command_line() -> str:
    """As it is typed into a shell; files record it beside what it made."""
    words = _TYPED.get()
    return shlex.join(["tensorpress", *(sys.argv[1:] if words is None else words)])


@contextlib.contextmanager
def as_if_typed(words: Sequence[str]) -> Iterator[None]:
    """Within it the command line is ``words``: for commands that carry out others."""
    token = _TYPED.set(tuple(words))
    try:
        yield
    finally:
        _TYPED.reset(token)
