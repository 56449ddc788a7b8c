"""``tensorpress demo``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.cli.declared import declared
from tensorpress.cli.options import OUTPUT

FOLDER = Path("tensorpress-demo")


@declared
def demo(
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of training.")] = 6,
    ratio: Annotated[
        float, typer.Option("--ratio", help="How many times fewer parameters and MACs.")
    ] = 5.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**63 - 1, help="Of all randomness.")
    ] = 0,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for all that is made on the way.", rich_help_panel=OUTPUT
        ),
    ] = FOLDER,
) -> None:
    """Train a network on real handwritten digits, make it smaller, and measure what that is worth.

    Each step is a command of its own, which is printed before it runs. Less than two minutes
    on two cores, without a network connection.
    """
