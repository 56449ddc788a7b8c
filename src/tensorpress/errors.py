"""The errors that a user can cause, and what of a user's objects stands in their messages."""

from collections.abc import Iterable, Mapping
from itertools import islice

MOST_ITEMS = 6
LONGEST_LINE = 200
_TOO_LARGE = (
    *("allocate memory", "enough memory", "out of memory"),
    *("Storage size calculation overflowed", "Overflow when unpacking"),
)
"""What PyTorch says, in errors of several kinds, where no memory is as large as it is asked for."""


class TensorpressError(Exception):
    """Base of every error that a user can cause; its message says what to do.

    The command line prints the message alone and exits with code 2.
    """


def shown(value: object, most: int = 60) -> str:
    """A value for a message: on one line, cut short, and of a tensor the shape alone."""
    try:
        text = " ".join(_text(value, most).split())
    except Exception:  # whatever a repr raises; of a number, that it has too many digits
        text = "too large a number" if isinstance(value, int) else f"<{type(value).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."


def refuse_no_flag(**flags: object) -> None:
    """Raise TensorpressError unless each of these is True or False."""
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TensorpressError(f"{name}={shown(flag)}: give True or False.")


def refuse_no_seed(seed: object) -> None:
    """Raise TensorpressError unless it is a whole number that all that draws takes as a seed."""
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise TensorpressError(
            f"seed={shown(seed)}: give a whole number from 0 to 2^63 - 1, such as 0."
        )


def is_too_large(error: BaseException) -> bool:
    """Whether what failed wanted more memory than there is."""
    return isinstance(error, MemoryError) or any(said in str(error) for said in _TOO_LARGE)


def first_line(error: BaseException) -> str:
    """What an error of someone else's code says, cut short; its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    whole = len(text) <= LONGEST_LINE or isinstance(error, TensorpressError)
    return text if whole else text[: LONGEST_LINE - 3] + "..."


def _text(value: object, most: int, depth: int = 3) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "dtype"):
        return f"<a tensor of shape {tuple(shape)}>" if tuple(shape) else repr(value)
    if isinstance(value, (str, bytes)):
        return repr(value[:most])
    if isinstance(value, (list, tuple, set, frozenset, Mapping)):
        return _of_many(value, most, depth) if depth else f"<{type(value).__name__}>"
    text = repr(value)
    # What holds tensors prints them.
    return f"<{type(value).__name__}>" if "tensor(" in text or "array(" in text else text


def _of_many(value: Iterable[object], most: int, depth: int) -> str:
    """A container by its first items; other containers than Python's own look like these."""
    pairs = isinstance(value, Mapping)
    items: Iterable[object] = value.items() if isinstance(value, Mapping) else value
    texts: list[str] = []
    for item in islice(items, MOST_ITEMS + 1):
        if len(texts) == MOST_ITEMS or sum(map(len, texts)) > most:
            texts.append("...")
            break
        parts = item if pairs and isinstance(item, tuple) else (item,)
        texts.append(": ".join(_text(part, most, depth - 1) for part in parts))
    inside = ", ".join(texts) + "," * (isinstance(value, tuple) and len(texts) == 1)
    if isinstance(value, tuple):
        return f"({inside})"
    return f"[{inside}]" if isinstance(value, list) else f"{{{inside}}}"
