"""The first screen: what it cost and what it brought, in a sentence and four cards."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tensorpress.choices import INT8
from tensorpress.deploy import Cell
from tensorpress.deploy.benchmark import SLOWER
from tensorpress.report.account import AccountRecord
from tensorpress.report.findings import Findings
from tensorpress.report.material import Material
from tensorpress.report.quantity import (
    TIMES,
    count,
    milliseconds,
    points,
    scored,
    short,
    times_of,
)
from tensorpress.report.times import Times
from tensorpress.surgery import ratio


@dataclass(frozen=True)
class Bar:
    """One of the values that a card compares: what it is, how it is written, and its length."""

    label: str
    text: str
    value: float
    kind: str


@dataclass(frozen=True)
class Card:
    """A number in large, and the values behind it.

    Attributes:
        title: the heading.
        number, unit: in large, and below it.
        bars: values to compare.
        lines: below, in words.
        whole: the value of a full bar; by default the largest.
        worse: whether it is bad news, which is said and not only coloured.
    """

    title: str
    number: str
    unit: str
    bars: tuple[Bar, ...] = ()
    lines: tuple[str, ...] = ()
    whole: float | None = None
    worse: bool = False

    def part(self, bar: Bar) -> float:
        """The length of a bar, from 0 to 1."""
        whole = self.whole or max(other.value for other in self.bars) or 1.0
        return min(bar.value / whole, 1.0)


def cards(material: Material, findings: Findings) -> list[Card]:
    """The cards of what is known."""
    before, after = findings.costs
    found = [
        before and _cost_card("Parameters", "PCR", before[0], after and after[0]),
        before and _cost_card("MACs", "FCR", before[1], after and after[1]),
        findings.times and _time_card(findings.times),
        _accuracy_card(material),
    ]
    return [card for card in found if card]


def verdict(material: Material, findings: Findings) -> str:
    """The same in sentences, good and bad alike."""
    before, after = findings.costs
    said = []
    if before and after:
        said.append(
            f"{count(after[0])} parameters instead of {count(before[0])}, "
            f"{short(after[1])} multiply-accumulates an input instead of {short(before[1])}."
        )
    elif before:
        said.append(f"{count(before[0])} parameters, {short(before[1])} MACs an input.")
    if findings.account and findings.account.originally:
        said.append(_in_all(findings.account))
    last, first = material.after or material.untuned, material.before
    if last and first:
        said.append(
            f"It gets {last.percent:.2f} % of the test images right, the dense network "
            f"{first.percent:.2f} %: {points(last.percent - first.percent)}."
        )
    elif last:
        said.append(f"It gets {last.percent:.2f} % of the test images right.")
    elif first:
        one = "The dense network" if after else "It"
        said.append(f"{one} gets {first.percent:.2f} % of the test images right.")
    if last and last is material.untuned:
        said.append("It is not fine-tuned.")
    if material.control and last:
        gap = last.percent - material.control.percent
        said.append(
            f"The dense network trained on for as long gets {material.control.percent:.2f} %: "
            f"{points(gap)} to that one."
        )
    if findings.times and findings.times.first:
        said += _time_said(findings.times.first)
        said += [_int8_said(cell) for cell in findings.times.cells if cell.precision == INT8]
    return " ".join(said)


def _int8_said(cell: Cell) -> str:
    return (
        f"In int8, in {cell.runtime}, it takes {milliseconds(cell.planned.median)} planned; the "
        f"dense network takes {milliseconds(cell.dense.median)} in int8 and "
        f"{milliseconds(cell.own.median)} in float there."
    )


def _plan_is_slow(cell: Cell) -> list[str]:
    stored, planned = cell.stored.median, cell.planned.median
    if not cell.table.rows or stored >= SLOWER * planned:
        return []
    return [
        f"As it is stored it takes {milliseconds(stored)}, less than by its plan, whose layers "
        "were measured at another time."
    ]


def _in_all(account: AccountRecord) -> str:
    params, macs = account.originally[0]
    steps = len(account.originally)
    often = "once" if steps == 1 else f"{steps} times"
    pcr, fcr = ratio(params, account.params_after), ratio(macs, account.macs_after)
    return (
        f"It had been compressed {often} before: for counts and accuracy, the dense network "
        "is what this compression began with; times are compared with the original. "
        f"In all PCR {pcr:.2f}, FCR {fcr:.2f}."
    )


def _cost_card(title: str, symbol: str, before: int, after: int | None) -> Card:
    unit = "parameters" if title == "Parameters" else "multiply-accumulates"
    if after is None:
        return Card(title, short(before), unit, lines=(f"{count(before)} {unit}",))
    number, words = _in_large(times_of(before, after, f"fewer {unit}", f"more {unit}"))
    bars = _before_after(before, after, count)
    return Card(
        title, number, words, bars, (f"{symbol} {ratio(before, after):.2f}",), worse=after > before
    )


def runtime_cards(times: Times) -> list[Card]:
    """A card for each runtime and precision that was timed, all on one scale."""
    whole = max((_slowest(cell) for cell in times.cells), default=None)
    return [replace(_cell_card(cell), whole=whole) for cell in times.cells]


def _time_card(times: Times) -> Card:
    if times.first is not None:
        card = _cell_card(times.first)
        return replace(card, title="Time here", lines=(*card.lines, f"{times.machine}."))
    how = f"Batch of {times.batch}, on the CPU, eager."
    return Card(
        "Time here",
        milliseconds(times.alone or 0.0),
        "a batch",
        lines=(how, f"{times.machine}."),
    )


def _cell_card(cell: Cell) -> Card:
    before, after = cell.baseline.median, cell.planned.median
    number, words = _in_large(times_of(before, after, "faster", "slower"))
    if _is_alike(cell):
        number, words = f"{cell.ratio:.2f}{TIMES}", "as fast"
    in_int8 = cell.precision == INT8
    bars = [Bar("dense", milliseconds(before), before, "before")]
    if in_int8:
        bars = [
            Bar("dense, float", milliseconds(cell.own.median), cell.own.median, "before"),
            Bar("dense, int8", milliseconds(cell.dense.median), cell.dense.median, "before"),
        ]
    if cell.table.rows:
        stored = cell.stored.median
        bars.append(Bar("stored", milliseconds(stored), stored, "stored"))
        words += ", planned"
    planned = "planned" if cell.table.rows else "compressed"
    bars.append(Bar(planned, milliseconds(after), after, "after"))
    lines = [
        f"Batch of {cell.batch}, {cell.threads} {'thread' if cell.threads == 1 else 'threads'}, "
        f"{cell.runtime} {cell.version}, {cell.precision}. Medians of {cell.rounds} rounds in "
        "turns."
    ]
    lines += _plan_is_slow(cell)
    if not cell.certain:
        lines.append(f"Uncertain: {cell.least_ratio:.2f} times in the fastest calls.")
    if cell.fidelity is not None:
        lines.append(f"To itself in float: {cell.fidelity}.")
    title = f"{cell.runtime}, {cell.precision}"
    worse = after > before and not _is_alike(cell)
    return Card(title, number, words, tuple(bars), tuple(lines), worse=worse)


def _slowest(cell: Cell) -> float:
    return max(s.median for s in (cell.own, cell.dense, cell.stored, cell.planned))


def _time_said(cell: Cell) -> list[str]:
    """First what one would run; then that as it is stored, if that is slower."""
    dense, stored, planned = cell.baseline.median, cell.stored.median, cell.planned.median
    here = f"a batch of {cell.batch} takes {milliseconds(planned)} here"
    said = [
        f"{'Planned' if cell.table.rows else 'Compressed'}, {here}, the dense network "
        f"{milliseconds(dense)}: {_ratio(cell)}."
    ]
    if cell.table.rows and stored > max(dense, planned):
        said.append(
            f"Executed as it is stored, core by core, it takes {milliseconds(stored)}, "
            f"{stored / dense:.2f} times as long as the dense network: run it by a plan."
        )
    said += _plan_is_slow(cell)
    return said


def _accuracy_card(material: Material) -> Card | None:
    known = (material.before, material.untuned, material.after, material.control)
    dense = (material.before, material.control)
    last = material.after or material.untuned or material.before
    if last is None:
        return None
    first = material.before
    change = last.percent - first.percent if first and first is not last else None
    unit = f"{points(change)} to the baseline" if change is not None else last.label
    if change is not None and material.control:
        gap = last.percent - material.control.percent
        unit += f", {points(gap)} to the one trained on"
        change = min(change, gap)
    images = f"{count(last.images)} test images" if last.images else "test images"
    return Card(
        "Accuracy",
        f"{last.percent:.2f} %",
        unit,
        tuple(
            Bar(
                score.label,
                scored(score.percent, score.stderr),
                score.percent,
                "before" if score in dense else "after",
            )
            for score in known
            if score
        ),
        (f"On {images}, ± standard error.",),
        whole=100.0,
        worse=change is not None and change < 0,
    )


def _before_after(before: float, after: float, text: Callable[[float], str]) -> tuple[Bar, ...]:
    return (
        Bar("before", text(before), before, "before"),
        Bar("after", text(after), after, "after"),
    )


def _in_large(ratio: str) -> tuple[str, str]:
    """ "4.06 times fewer parameters" as the number with its sign, and the rest."""
    number, _, words = ratio.partition(" times ")
    return (f"{number}{TIMES}", words) if words else (number, "")


def _ratio(cell: Cell) -> str:
    if _is_alike(cell):
        return "about as long"
    before, after = cell.baseline.median, cell.planned.median
    number, _, words = times_of(before, after, "faster", "slower").partition(" times ")
    return f"{number} times {words}{', not faster' * (words == 'slower')}"


def _is_alike(cell: Cell) -> bool:
    """Whether the planned network and the dense one differ by no more than noise may."""
    return SLOWER <= cell.ratio <= 1 / SLOWER
