"""Progress bars on standard error, shown only to a person."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def progress_bar(*, show: bool | None = None) -> Progress:
    """A bar with a count and the time left; by default shown where standard error is a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (console.is_terminal if show is None else show),
    )


def track(items: Sequence[T], description: str, *, show: bool | None = None) -> Iterator[T]:
    """Yield ``items`` under a progress bar."""
    with progress_bar(show=show) as bar:
        yield from bar.track(items, description=description)
