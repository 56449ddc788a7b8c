"""The errors that a user can cause."""


class TensorpressError(Exception):
    """Base of every error that a user can cause; its message says what to do.

    The command line prints the message alone and exits with code 2.
    """
