"""``tensorpress demo``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.cli.declared import declared


@declared
def demo(
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Epochs of each phase.")] = 10,
    energy: Annotated[float, typer.Option("--energy", help="Share of the energy to keep.")] = 0.7,
    seed: Annotated[int, typer.Option("--seed", help="Of all randomness.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep the run in this folder.")
    ] = None,
) -> None:
    """Train a small network on real handwritten digits, compress it and fine-tune it."""
