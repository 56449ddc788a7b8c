"""Charts with a layer a column: ranks, kept energy, and what each layer costs."""

from collections.abc import Sequence
from itertools import accumulate

from tensorpress.charts import Axis, Bars, Chart, Line, even_axis, round_axis
from tensorpress.report.layer_axis import block_spans, layer_axis
from tensorpress.report.quantity import count, layer_name, percent, share, short
from tensorpress.surgery import LayerRow

GAP = 0.22
"""Of a layer's column, what stays free on each side of its inner bar."""

Ranked = Sequence[tuple[str, tuple[int, ...] | None]]
"""Name and ranks of each layer, in order; None for one that stays."""


def rank_chart(layers: Ranked) -> Chart:
    """The ranks R1, R2, ... along the network."""
    texts = [
        f"{layer_name(name)}: {_ranks_text(ranks) if ranks else 'stays as it is'}"
        for name, ranks in layers
    ]
    label = f"Ranks of {sum(1 for _, r in layers if r)} decomposed layers; {rank_finding(layers)}"
    y = round_axis(0, max((max(ranks) for _, ranks in layers if ranks), default=1), "rank")
    lines = []
    for n in range(_depth(layers)):
        known = [(i, ranks[n]) for i, (_, ranks) in enumerate(layers) if ranks and n < len(ranks)]
        lines.append(Line(known, f"R{n + 1}", n))
    return _by_layer(label, [name for name, _ in layers], y, texts, lines=lines)


def rank_finding(layers: Ranked) -> str:
    """What the ranks are, in a sentence."""
    parts = []
    for n in range(_depth(layers)):
        values = [ranks[n] for _, ranks in layers if ranks and n < len(ranks)]
        low, high = min(values), max(values)
        span = f"is {low}" if low == high else f"runs from {low} to {high}"
        parts.append(f"R{n + 1} {span}")
    return f"{', '.join(parts)}." if parts else "No layer was decomposed."


def energy_chart(rows: Sequence[LayerRow]) -> Chart:
    """The share of each kernel's energy that is kept, and the relative error."""
    highest = max([row.relative_error or 0.0 for row in rows], default=0.0)
    name = "share of the kernel"
    y = even_axis((0, 0.25, 0.5, 0.75, 1), name) if highest <= 1 else round_axis(0, highest, name)
    lines = []
    for n, key in enumerate(("kept_energy", "relative_error")):
        values = [(i, getattr(row, key)) for i, row in enumerate(rows)]
        known = [(i, value) for i, value in values if value is not None]
        lines.append(Line(known, key.replace("_", " "), n))
    texts = [
        f"{layer_name(row.name)}: keeps {share(row.kept_energy)}, error {share(row.relative_error)}"
        if row.kept_energy is not None
        else f"{layer_name(row.name)}: {row.decision}"
        for row in rows
    ]
    label = f"Kept energy and relative error by layer. {energy_finding(rows)}"
    return _by_layer(label, [row.name for row in rows], y, texts, lines=lines)


def energy_finding(rows: Sequence[LayerRow]) -> str:
    """Which layers keep most and least."""
    known = [(row.kept_energy, layer_name(row.name)) for row in rows if row.kept_energy is not None]
    if not known:
        return "No layer's kept energy is known."
    (least, worst), (most, best) = min(known), max(known)
    if len(known) == 1:
        return f"{worst} keeps {share(least)} of its energy."
    return f"{worst} keeps least of its energy, {share(least)}; {best} most, {share(most)}."


def cost_chart(rows: Sequence[LayerRow], what: str) -> Chart:
    """Parameters (``what = "params"``) or MACs ("macs") of each layer, before and after."""
    before, after = ([getattr(row, f"{what}_{when}") for row in rows] for when in _WHEN)
    texts = [
        f"{layer_name(row.name)}: {count(old)} {_UNITS[what]} before, {count(new)} after"
        for row, old, new in zip(rows, before, after, strict=True)
    ]
    label = f"Of each layer the {_UNITS[what]} before and after. {cost_finding(rows, what)}"
    y = round_axis(0, max([*before, *after, 1]), _UNITS[what], short)
    bars = [
        Bars(before, "before", "before", 1 - GAP),
        Bars(after, "after", "after", 1 - 2 * GAP),
    ]
    return _by_layer(label, [row.name for row in rows], y, texts, bars=bars)


def cost_finding(rows: Sequence[LayerRow], what: str) -> str:
    """Which block cost most, and what became of it."""
    names = [row.name for row in rows]
    alone = [(layer_name(name), i, i + 1) for i, name in enumerate(names)]
    blocks = block_spans(names) or alone
    before, after = (
        [0, *accumulate(getattr(row, f"{what}_{when}") for row in rows)] for when in _WHEN
    )
    if not rows or not before[-1]:
        return "There is nothing to count."
    name, first, last = max(blocks, key=lambda block: before[block[2]] - before[block[1]])
    old, new = before[last] - before[first], after[last] - after[first]
    return (
        f"{name} held {percent(old, before[-1])} of the {_UNITS[what]} of all layers and now "
        f"holds {percent(new, after[-1])}: {short(old)} became {short(new)}."
    )


_WHEN = ("before", "after")
_UNITS = {"params": "parameters", "macs": "MACs"}


def _by_layer(
    label: str,
    names: Sequence[str],
    y: Axis,
    tips: Sequence[str],
    *,
    lines: Sequence[Line] = (),
    bars: Sequence[Bars] = (),
) -> Chart:
    dividers = [first - 0.5 for _, first, _ in block_spans(names)[1:]]
    return Chart(label, layer_axis(names), y, lines, bars, dividers=dividers, tips=tips)


def _depth(layers: Ranked) -> int:
    return max((len(ranks) for _, ranks in layers if ranks), default=0)


def _ranks_text(ranks: tuple[int, ...]) -> str:
    return ", ".join(f"R{n} {rank}" for n, rank in enumerate(ranks, 1))
