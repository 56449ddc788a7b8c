"""``tensorpress doctor``, as it is asked for."""

from typing import Annotated

import typer

from tensorpress.cli.declared import declared


@declared
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """What this machine has for networks, what is used for what, and what to install for more.

    tensorpress doctor
    """
