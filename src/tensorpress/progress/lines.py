"""Progress where there is no terminal: now and then a line, and none of what is done at once."""

import threading
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import Task

from tensorpress.progress.durations import duration
from tensorpress.progress.from_start import ProgressFromStart
from tensorpress.progress.silence import is_silent

FIRST = 2.0
"""Seconds before which nothing is said."""
PAUSE, SHARE, LONGEST_PAUSE = 10.0, 0.1, 300.0
"""Between two lines lies this share of the time gone, but at least and at most so many seconds."""
LOOK_EVERY = 0.5


class ProgressLines(ProgressFromStart):
    """A bar of rich that draws nothing, and says in lines how far its tasks are.

    Args:
        console: that the lines are printed on.
        counted: say "12 of 54"; otherwise it is percent.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        console: Console,
        *,
        counted: bool,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(console=console, auto_refresh=False, get_time=clock, disable=True)
        self._counted = counted
        self._due = FIRST
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._looking.start()

    def stop(self) -> None:
        self._ended.set()
        self._looking.join()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        if kind is None and self._due > FIRST:
            for task in self.tasks:
                taken = duration(task.elapsed or 0.0)
                say(self.console, f"{task.description}: done in {taken}")

    def say_if_due(self) -> None:
        """Say how far it is, if the last line is long enough ago."""
        for task in self.tasks:
            gone = task.elapsed or 0.0
            if gone >= self._due and not task.finished:
                say(self.console, self._line(task))
                self._due = gone + min(max(PAUSE, SHARE * gone), LONGEST_PAUSE)

    def _line(self, task: Task) -> str:
        if task.total is None:
            return task.description
        far = f"{task.percentage:.0f} %"
        if self._counted:
            far = f"{task.completed:,.0f} of {task.total:,.0f}"
        left = task.time_remaining
        return f"{task.description}: {far}" + (f", {duration(left)} left" if left else "")

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            self.say_if_due()


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def announce(text: str, *, show: bool | None = None) -> None:
    """Say a line on standard error of long work, unless ``show`` is False or all is silenced."""
    if show is not False and not is_silent():
        say(Console(stderr=True), text)


def warn(text: str) -> None:
    """Say a line on standard error that a result must not be read without."""
    say(Console(stderr=True), text)
