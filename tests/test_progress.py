"""Progress where there is no terminal, on a clock of the test's own."""

import io
from collections.abc import Iterator
from itertools import pairwise

import pytest
from rich.console import Console

from tensorpress.progress import duration, progress_bar, track
from tensorpress.progress.lines import ProgressLines


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(clock: Clock, said: io.StringIO) -> ProgressLines:
    return ProgressLines(Console(file=said), counted=True, clock=clock)


def work(lines: ProgressLines, clock: Clock, steps: int, seconds: float) -> Iterator[float]:
    """Do steps of so many seconds, looking after every second, and give the time after each."""
    began = clock.now
    task = lines.add_task("measuring layers", total=steps)
    for _ in range(steps):
        left = seconds
        while left > 0:
            clock.now += min(left, 1.0)
            left -= 1.0
            lines.say_if_due()
        lines.advance(task)
        yield clock.now - began


def test_nothing_is_said_of_two_seconds(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    with lines:
        for _ in work(lines, clock, 19, 0.1):
            pass
    assert said.getvalue() == ""


def test_lines_tell_how_far_it_is_and_the_time_left(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    with lines:
        for _ in work(lines, clock, 25, 1.0):
            pass
    assert said.getvalue().splitlines() == [
        "measuring layers: 1 of 25, 24 s left",
        "measuring layers: 11 of 25, 14 s left",
        "measuring layers: 21 of 25, 4 s left",
        "measuring layers: done in 25 s",
    ]


def test_lines_come_less_and_less_often(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    times: list[float] = []
    for now in work(lines, clock, 6 * 3600, 1.0):
        if said.getvalue().count("\n") > len(times):
            times.append(now)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 2
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (10, 300)
    assert len(times) < 120


def test_a_long_step_is_said_before_it_is_done(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    next(work(lines, clock, 2, 15.0))
    assert said.getvalue().splitlines() == ["measuring layers: 0 of 2"] * 2


def test_work_of_unknown_size_is_named(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    lines.add_task("planning: preparing", total=None)
    clock.now += 3
    lines.say_if_due()
    assert said.getvalue() == "planning: preparing\n"


def test_shares_are_told_in_percent(clock: Clock, said: io.StringIO) -> None:
    lines = ProgressLines(Console(file=said), counted=False, clock=clock)
    task = lines.add_task("timing layers", total=1.0)
    for share in (0.1, 0.2, 0.31):
        clock.now += 1
        lines.update(task, completed=share)
    lines.say_if_due()
    assert said.getvalue() == "timing layers: 31 %, 7 s left\n"


def test_what_was_stopped_is_not_said_to_be_done(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    with pytest.raises(KeyboardInterrupt), lines:  # noqa: PT012 - the bar has to see it
        for now in work(lines, clock, 9, 1.0):
            if now > 4:
                raise KeyboardInterrupt
    assert said.getvalue() == "measuring layers: 1 of 9, 8 s left\n"


def test_words_of_a_task_are_no_markup(
    lines: ProgressLines, clock: Clock, said: io.StringIO
) -> None:
    lines.add_task("layer [red]1[/red] " + 30 * "long ", total=None)
    clock.now += 3
    lines.say_if_due()
    assert said.getvalue() == "layer [red]1[/red] " + 30 * "long " + "\n"


def test_lines_are_said_while_a_step_is_under_way(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, said: io.StringIO
) -> None:
    lines = ProgressLines(Console(file=said), counted=True, clock=clock)
    looked: list[bool] = []
    monkeypatch.setattr(lines._ended, "wait", lambda _: len(looked) == 3)
    monkeypatch.setattr(lines, "say_if_due", lambda: looked.append(True))
    with lines:
        lines._looking.join()
    assert looked == [True] * 3


@pytest.mark.parametrize(
    ("terminal", "show", "is_shown", "in_lines"),
    [
        (True, None, True, False),
        (True, True, True, False),
        (True, False, False, False),
        (False, None, False, True),
        (False, True, False, True),
        (False, False, False, False),
    ],
)
def test_bars_are_for_terminals(
    terminal: bool, show: bool | None, is_shown: bool, in_lines: bool
) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, _environ={"TERM": "xterm"})
    bar = progress_bar(show=show, console=console)
    assert isinstance(bar, ProgressLines) is in_lines
    assert (not bar.disable) is is_shown


def test_a_terminal_that_cannot_draw_gets_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(progress_bar(console=console), ProgressLines)


def test_all_items_come_through_and_none_is_said_of_what_is_quick(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert list(track("abc", "letters")) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (80, "1 min 20 s"),
        (3599.6, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "25 h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
