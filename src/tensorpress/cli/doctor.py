"""``tensorpress doctor``, as it is asked for."""

from tensorpress.cli.declared import declared


@declared
def doctor() -> None:
    """What this machine has for networks, what is used for what, and what to install for more.

    tensorpress doctor
    """
