"""The errors that a user can cause."""


class TensorpressError(Exception):
    """Base of every error that a user can cause; its message says what to do.

    The command line prints the message alone and exits with code 2.
    """


def shown(value: object, most: int = 60) -> str:
    """A value for a message: on one line, cut short, and of a tensor the shape alone."""
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "dtype"):
        return f"<a tensor of shape {tuple(shape)}>"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whatever a repr raises: a number of more digits than Python prints, say
        return f"<{type(value).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."
