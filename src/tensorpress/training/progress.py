"""What a person sees of a run: the time left all along, and a line an epoch."""

import contextlib
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from tensorpress.progress import progress_bar
from tensorpress.training.loop import OnStep
from tensorpress.training.place import Place


class Display:
    """Prints to standard output from the main process; nothing at all when ``quiet``."""

    def __init__(self, place: Place, *, quiet: bool = False) -> None:
        self.console = Console(quiet=quiet or not place.is_main, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line, as it is."""
        self.console.print(text, markup=False)

    @contextlib.contextmanager
    def phase(self, name: str, epochs: int, done: int) -> Iterator["PhaseBar"]:
        """A bar for the epochs of a phase, of which ``done`` lie behind.

        Where standard output is no terminal it is on standard error, apart from what is kept.
        """
        measures = (
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
        )
        console = self.console
        if not console.is_interactive:
            console = Console(stderr=True, quiet=console.quiet)
        with progress_bar(*measures, console=console) as progress:
            yield PhaseBar(self, progress, name, epochs, done)


class PhaseBar:
    """The bar of one phase; made by `Display.phase`."""

    def __init__(
        self, display: Display, progress: Progress, name: str, epochs: int, done: int
    ) -> None:
        self.display, self.progress, self.epochs = display, progress, epochs
        self.task = progress.add_task(name, total=max(epochs, 1), completed=done)

    def on_step(self, epoch: int) -> OnStep:
        """What an epoch is to call after each of its steps."""
        return lambda done, steps: self.progress.update(self.task, completed=epoch + done / steps)

    def epoch(self, line: dict[str, Any]) -> None:
        """Print the line of an epoch."""
        held = f"  held back {line['held_back_acc']:.2f} %" if "held_back_acc" in line else ""
        self.display.say(
            f"{line['phase']:<13} epoch {line['epoch']:>{len(str(self.epochs))}}/{self.epochs}"
            f"  lr {line['lr']:.4g}  loss {line['loss']:.4f}  train {line['train_acc']:.2f} %"
            f"{held}  test {line['test_acc']:.2f} %  {line['seconds']:.1f} s"
        )
