"""Progress bars on standard error, shown only to a person."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")


def progress_bar(
    *measures: ProgressColumn,
    show: bool | None = None,
    console: Console | None = None,
    estimate_over: float = 30.0,
) -> Progress:
    """A bar with how far it is and the time left, which goes when it is done.

    Args:
        measures: say how far it is; by default a count.
        show: by default only where the console is a terminal.
        console: by default that of standard error.
        estimate_over: the seconds that the time left is estimated from.
    """
    console = console or Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *(measures or [MofNCompleteColumn()]),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        speed_estimate_period=estimate_over,
        disable=not (console.is_terminal if show is None else show),
    )


def track(items: Sequence[T], description: str, *, show: bool | None = None) -> Iterator[T]:
    """Yield ``items`` under a progress bar."""
    with progress_bar(show=show) as bar:
        yield from bar.track(items, description=description)
