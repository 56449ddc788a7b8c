"""Measured rows for people: Markdown tables beside printed rows, and a plot for each network."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from tensorpress.charts import Chart, Level, Line, round_axis, whole_axis, write_png
from tensorpress.experiments.paper import PaperRow, tables_on
from tensorpress.experiments.results import Result
from tensorpress.experiments.wording import CONTROL

HEAD = (
    "method", "PCR", "FCR", "accuracy", "dAcc", "dAcc to control", "epochs", "seeds", "rows"
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Rows that differ in nothing but their seed, and the controls that they are held against.

    Attributes:
        rows: at least one.
        numbers: of the rows on their page, from 1.
        controls: of the same network, baseline, data, epochs and recipe.
    """

    rows: tuple[Result, ...]
    numbers: tuple[int, ...]
    controls: tuple[Result, ...] = ()

    @property
    def any(self) -> Result:
        """One of the rows, for what they have in common."""
        return self.rows[0]

    @property
    def accuracy(self) -> float:
        """The mean over the seeds, in percent."""
        return fmean(row.acc for row in self.rows)

    @property
    def stderr(self) -> float:
        """In points: of the mean over the seeds, or of the one accuracy."""
        if len(self.rows) == 1:
            return self.any.stderr
        return stdev(row.acc for row in self.rows) / math.sqrt(len(self.rows))

    @property
    def dacc(self) -> float:
        """The mean difference to the baseline, in points."""
        return fmean(row.dacc for row in self.rows)

    @property
    def dacc_vs_control(self) -> float | None:
        """The difference to the mean of the controls, or that which the rows have of their own.

        None where there is none.
        """
        if self.any.is_control:
            return None
        if self.controls:
            return self.accuracy - fmean(row.acc for row in self.controls)
        own = [row.dacc_vs_control for row in self.rows if row.dacc_vs_control is not None]
        return fmean(own) if len(own) == len(self.rows) else None

    @property
    def curve(self) -> list[float]:
        """Before training and after each epoch, the mean over seeds whose whole curve is known."""
        whole = max(len(row.curve) for row in self.rows)
        curves = [row.curve for row in self.rows if len(row.curve) == whole]
        return [fmean(after) for after in zip(*curves, strict=True)]

    @property
    def worse_dacc(self) -> float:
        """The one of the two differences that counts."""
        control = self.dacc_vs_control
        return self.dacc if control is None else min(self.dacc, control)


def gathered(results: Sequence[Result]) -> list[Runs]:
    """Rows that differ in their seed alone, together, in the order of the first of each."""
    found: dict[tuple[object, ...], list[int]] = {}
    for number, row in enumerate(results):
        found.setdefault((*_setting(row), row.name), []).append(number)
    return [
        Runs(
            tuple(results[number] for number in numbers),
            tuple(number + 1 for number in numbers),
            tuple(row for row in results if _controls(row, results[numbers[0]])),
        )
        for numbers in found.values()
    ]


def markdown(results: Sequence[Result]) -> str:
    """A table for each network, data and baseline, printed rows first, and where rows come from."""
    parts = [_table(subject) for subject in _subjects(results)]
    sources = [
        f"{number}. seed {row.seed}, {row.acc:.2f} % of {row.images:,}: `{row.command}`  \n"
        f"   {row.machine}"
        for number, row in enumerate(results, 1)
    ]
    return "\n".join([*parts, "### Commands and machines, row by row", "", *sources]) + "\n"


def plots(results: Sequence[Result]) -> dict[str, list[Chart]]:
    """For each network, data and baseline, by the name of the PNG: dAcc against PCR and against
    FCR, and accuracy over the epochs.

    dAcc is that of compressed networks in their own precision; those that lose more than `FAR` are
    left out.
    """
    found = {}
    for subject in _subjects(results):
        if subject.drawn:
            charts = [_chart(subject.drawn, subject.printed, ratio) for ratio in RATIOS]
            found[subject.plot_name()] = charts
        if subject.trained:
            found[subject.plot_name(EPOCHS)] = [_course(subject.trained)]
    return found


def plot_results(results: Sequence[Result], folder: Path) -> None:
    """Write :func:`plots` into ``folder``."""
    for name, charts in plots(results).items():
        write_png(folder / name, charts, columns=len(charts))


FAR = 10.0
"""Points; a network that has lost more would press all others together in a plot."""
EPOCHS = "-epochs"
"""What a plot over epochs has in its name."""
RATIOS: dict[str, tuple[Callable[[Result], float], Callable[[PaperRow], float | None]]] = {
    "PCR": (lambda row: row.pcr, lambda row: row.pcr),
    "FCR": (lambda row: row.fcr, lambda row: row.fcr),
}


def _setting(row: Result) -> tuple[object, ...]:
    return (row.network, row.data, row.baseline, row.epochs, row.recipe)


def _controls(control: Result, row: Result) -> bool:
    return control.is_control and _setting(control) == _setting(row)


def _is_drawn(runs: Runs) -> bool:
    row = runs.any
    return row.is_compressed and not row.is_int8 and runs.worse_dacc >= -FAR


@dataclass(frozen=True)
class _Subject:
    """All runs of one baseline, the ``number``-th of its network and data from 1."""

    network: str
    data: str
    number: int
    runs: Sequence[Runs]

    @property
    def title(self) -> str:
        return f"{self.network}, {self.data}" + f", baseline {self.number}" * (self.number > 1)

    @property
    def baseline(self) -> str:
        """With its accuracy, which rounding moves a little from machine to machine."""
        found = {row.acc_baseline for each in self.runs for row in each.rows}
        words = " to ".join(f"{accuracy:.2f}" for accuracy in sorted({min(found), max(found)}))
        by_machine = " by the machine" * (len(found) > 1)
        return f"Baseline: {words} %{by_machine}, {self.runs[0].any.baseline}."

    @property
    def printed(self) -> list[PaperRow]:
        return [row for table in tables_on(self.network, self.data) for row in table.rows]

    @property
    def drawn(self) -> list[Runs]:
        return [runs for runs in self.runs if _is_drawn(runs)]

    @property
    def trained(self) -> list[Runs]:
        return [runs for runs in self.runs if runs.curve]

    def plot_name(self, what: str = "") -> str:
        number = f"-{self.number}" * (self.number > 1)
        return f"results-{self.network}-{self.data}{number}{what}.png"


def _subjects(results: Sequence[Result]) -> list[_Subject]:
    found: dict[tuple[str, str], dict[str, list[Runs]]] = {}
    for runs in gathered(results):
        row = runs.any
        baselines = found.setdefault((row.network, row.data), {})
        baselines.setdefault(row.baseline, []).append(runs)
    return [
        _Subject(network, data, number, runs)
        for (network, data), baselines in found.items()
        for number, runs in enumerate(baselines.values(), 1)
    ]


def _table(subject: _Subject) -> str:
    runs = subject.runs
    lines = [f"### {subject.title}", "", subject.baseline]
    lines += ["", f"| {' | '.join(HEAD)} |", "|---" + "|---:" * (len(HEAD) - 1) + "|"]
    for row in subject.printed:
        ratios = [_number(value, "{:.2f}") for value in (row.pcr, row.fcr)]
        cells = (f"{row.method}, printed", *ratios, "", _number(row.dacc, "{:+.2f}"))
        lines.append(f"| {' | '.join((*cells, *[''] * (len(HEAD) - len(cells))))} |")
    lines += [f"| {' | '.join(_cells(each))} |" for each in runs]
    if subject.drawn:
        lines += ["", f"![dAcc against PCR and FCR]({subject.plot_name()})"]
    if subject.trained:
        lines += ["", f"![accuracy over the epochs]({subject.plot_name(EPOCHS)})"]
    return "\n".join([*lines, ""])


def _cells(runs: Runs) -> tuple[str, ...]:
    row, control = runs.any, runs.dacc_vs_control
    missing = "" if row.is_control or row.epochs == 0 else "not run"
    return (
        row.name,
        f"{row.pcr:.2f}",
        f"{row.fcr:.2f}",
        f"{runs.accuracy:.2f} ± {runs.stderr:.2f}",
        f"{runs.dacc:+.2f}",
        missing if control is None else f"{control:+.2f}",
        str(row.epochs),
        str(len(runs.rows)),
        ", ".join(map(str, runs.numbers)),
    )


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _chart(runs: Sequence[Runs], printed: Sequence[PaperRow], ratio: str) -> Chart:
    """A line has the same series in the chart of the other ratio."""
    of_run, of_printed = RATIOS[ratio]
    families: dict[tuple[str, ...], list[Runs]] = {}
    for each in runs:
        families.setdefault(_family(each.any), []).append(each)
    lines: list[Line] = []
    for name, members in zip(_told([*families]), families.values(), strict=True):
        members = sorted(members, key=lambda each: of_run(each.any))
        points = [(of_run(each.any), each.worse_dacc) for each in members]
        errors = [each.stderr for each in members]
        lines.append(Line(points, name, len(lines), errors=errors))
    known: dict[str, list[tuple[float, float]]] = {}
    for row in printed:
        points = known.setdefault(f"{row.method}, printed", [])
        place = of_printed(row)
        if place is not None and row.dacc is not None:
            points.append((place, row.dacc))
    lines += [
        Line(sorted(points), name, len(families) + number, dashes=1)
        for number, (name, points) in enumerate(known.items())
        if points
    ]
    places = [x for line in lines for x, _ in line.points]
    heights = [y for line in lines for _, y in line.points]
    heights += [each.worse_dacc + sign * each.stderr for each in runs for sign in (-1, 1)]
    name = "dAcc, points (the worse of the two)"
    return Chart(
        f"dAcc against {ratio}",
        round_axis(min(1.0, *places), ROOM * max(places), ratio),
        round_axis(min(0.0, *heights), max(0.0, *heights), name),
        lines,
        levels=[Level(0.0, "dense")],
    )


ROOM = 1.02
"""No mark lies on the frame."""


def _course(runs: Sequence[Runs]) -> Chart:
    names = _told([_parts(each.any) for each in runs], always="")
    lines = [
        Line([*enumerate(each.curve)], names[number], number, is_marked=False)
        for number, each in enumerate(runs)
    ]
    heights = [y for line in lines for _, y in line.points]
    dense = runs[0].any.acc_baseline
    return Chart(
        "Accuracy on test images over the epochs",
        whole_axis(max(each.any.epochs for each in runs), "epochs"),
        round_axis(min(dense, *heights), max(dense, *heights), "accuracy, %"),
        lines,
        levels=[Level(dense, "dense")],
    )


CALIBRATED = "calibrated"


def _parts(row: Result) -> tuple[str, ...]:
    """What a row is: ("auto at FCR 4", "calibrated on 500 images", "Muon", "8 epochs")."""
    form, *marks = re.split(r", (?![^(]*\))", row.name)
    if row.is_control:
        form, marks = CONTROL, marks[1:]
    return (form, *marks, f"{row.epochs} epochs")


def _family(row: Result) -> tuple[str, ...]:
    """What rows at other ratios have in common: ("TTPWT", "Muon", "8 epochs")."""
    form, *marks = _parts(row)
    return (form.partition(" at ")[0], *marks)


def _told(rows: Sequence[tuple[str, ...]], always: str = CALIBRATED) -> list[str]:
    """:func:`_parts` of rows that differ, in a few words: "TTPWT, calibrated, 8 epochs".

    What all controls, all rows that are trained, or all that are not, have is left out, but for
    their form, their epochs and what begins with ``always``; of how many images is only told where
    that differs.
    """
    numbers = {mark for _, *marks in rows for mark in marks if mark.startswith(CALIBRATED)}
    short = dict.fromkeys(numbers, CALIBRATED) if len(numbers) == 1 else {}
    rows = [tuple(short.get(part, part) for part in parts) for parts in rows]
    common: dict[tuple[bool, bool], set[str]] = {}
    for parts in rows:
        marks = {mark for mark in parts[1:-1] if not always or not mark.startswith(always)}
        common[_kind(parts)] = common.get(_kind(parts), marks) & marks
    return [", ".join(part for part in parts if part not in common[_kind(parts)]) for parts in rows]


def _kind(parts: tuple[str, ...]) -> tuple[bool, bool]:
    """Whether it is a control, and whether it is trained at all."""
    return parts[0] == CONTROL, parts[-1] != "0 epochs"
