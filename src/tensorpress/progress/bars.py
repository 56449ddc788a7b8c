"""Progress of work of a known size, with the time left."""

from collections.abc import Iterable, Iterator
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

from tensorpress.progress.from_start import ProgressFromStart
from tensorpress.progress.lines import ProgressLines
from tensorpress.progress.silence import is_silent

T = TypeVar("T")


def progress_bar(
    *measures: ProgressColumn,
    show: bool | None = None,
    console: Console | None = None,
) -> Progress:
    """A bar with how far it is and the time left, which goes when it is done.

    Where the console is no terminal, lines say the same instead: none in the first two seconds,
    then fewer and fewer (:class:`ProgressLines`).

    Args:
        measures: say how far it is on a terminal; by default a count. With others, lines say it in
            percent.
        show: False for nothing at all, as within :func:`silenced`.
        console: by default that of standard error.
    """
    console = console or Console(stderr=True)
    show = False if is_silent() else show
    if show is not False and not console.is_interactive:
        return ProgressLines(console, counted=not measures)
    return ProgressFromStart(
        TextColumn("{task.description}"),
        BarColumn(),
        *(measures or [MofNCompleteColumn()]),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=show is False,
    )


def track(
    items: Iterable[T], description: str, *, of: int | None = None, show: bool | None = None
) -> Iterator[T]:
    """Yield ``items`` under a progress bar; ``of`` says how many they are, if they do not."""
    with progress_bar(show=show) as bar:
        yield from bar.track(items, total=of, description=description)
