"""The first screen: what it cost and what it brought, in a sentence and four cards."""

from collections.abc import Callable
from dataclasses import dataclass

from tensorpress.report.account import AccountRecord
from tensorpress.report.findings import Findings, Timing
from tensorpress.report.material import Material, Score
from tensorpress.report.quantity import TIMES, count, milliseconds, percent, points, short, times
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
        findings.timing and _time_card(findings.timing),
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
    elif last or first:
        only = last or first
        assert only is not None
        said.append(f"It gets {only.percent:.2f} % of the test images right.")
    if last and last is material.untuned:
        said.append("It is not fine-tuned.")
    if material.control and last:
        gap = last.percent - material.control.percent
        said.append(
            f"The dense network trained on for as long gets {material.control.percent:.2f} %: "
            f"{points(gap)} to that one."
        )
    timing = findings.timing
    if timing and timing.after:
        said.append(
            f"Here, a batch of {timing.batch} takes {_ratio(timing)}: "
            f"{milliseconds(timing.before)} before, {milliseconds(timing.after)} after."
        )
    return " ".join(said)


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
    number, words = _in_large(times(before, after, f"fewer {unit}", f"more {unit}"))
    bars = _before_after(before, after, count)
    return Card(
        title, number, words, bars, (f"{symbol} {ratio(before, after):.2f}",), worse=after > before
    )


def _time_card(timing: Timing) -> Card:
    how = (
        f"Batch of {timing.batch}, median of {timing.rounds} rounds in turns, on the CPU, "
        f"{timing.executed}.",
        f"{timing.machine}.",
    )
    if timing.after is None:
        return Card("Time here", milliseconds(timing.before), "a batch", lines=how)
    number, words = _in_large(times(timing.before, timing.after, "faster", "slower"))
    bars = _before_after(timing.before, timing.after, milliseconds)
    worse = timing.after > timing.before
    return Card("Time here", number, words, bars, how, worse=worse)


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
            Bar(score.label, _scored(score), score.percent, "before" if score in dense else "after")
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


def _scored(score: Score) -> str:
    spread = "" if score.stderr is None else f" ± {score.stderr:.2f}"
    return f"{score.percent:.2f}{spread} %"


def _ratio(timing: Timing) -> str:
    assert timing.after is not None
    if timing.after == timing.before:
        return "as long as before"
    ratio = times(timing.before, timing.after, "faster", "slower")
    number, _, words = ratio.partition(" times ")
    if words == "slower":
        return f"{number} times as long, so it is slower and not faster"
    return f"{percent(timing.after, timing.before)} of the time, {number} times faster"
