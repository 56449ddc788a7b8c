"""Charts with a layer a column: ranks, kept energy, and what each layer costs."""

from collections.abc import Sequence
from itertools import accumulate

from tensorpress.report import plot
from tensorpress.report.markup import Markup, tag
from tensorpress.report.quantity import count, layer_name, percent, share, short
from tensorpress.report.scale import Scale, block_spans, layer_ticks, round_scale
from tensorpress.surgery import LayerRow

HEIGHT = 210
SHARES = Scale(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
GAP = 0.22
"""Of a layer's column, what stays free on each side of its bar."""

Ranked = Sequence[tuple[str, tuple[int, ...] | None]]
"""Name and ranks of each layer, in order; None for one that stays."""


def rank_chart(layers: Ranked) -> Markup:
    """The ranks R1, R2, ... along the network."""
    names = [name for name, _ in layers]
    depth = max((len(ranks) for _, ranks in layers if ranks), default=0)
    highest = max((max(ranks) for _, ranks in layers if ranks), default=1)
    y = round_scale(0, highest)
    drawn, entries = [], []
    for n in range(depth):
        series = n % plot.SERIES + 1
        points = [
            (_middle(i, names), y.share(ranks[n]))
            for i, (_, ranks) in enumerate(layers)
            if ranks and len(ranks) > n
        ]
        drawn += [plot.line(series, points, HEIGHT), plot.marks(series, points, HEIGHT)]
        entries.append((plot.sample_line(series), f"R{n + 1}"))
    texts = [
        f"{layer_name(name)}: {_ranks_text(ranks) if ranks else 'stays as it is'}"
        for name, ranks in layers
    ]
    label = f"Ranks of {sum(1 for _, r in layers if r)} decomposed layers; {rank_finding(layers)}"
    return _with_legend(entries, label, y, [*drawn, plot.tips(texts, HEIGHT)], names)


def rank_finding(layers: Ranked) -> str:
    """What the ranks are, in a sentence."""
    depth = max((len(ranks) for _, ranks in layers if ranks), default=0)
    parts = []
    for n in range(depth):
        values = [ranks[n] for _, ranks in layers if ranks and len(ranks) > n]
        low, high = min(values), max(values)
        parts.append(f"R{n + 1} {'is' if low == high else 'runs from'} {_range(low, high)}")
    return f"{', '.join(parts)}." if parts else "No layer was decomposed."


def energy_chart(rows: Sequence[LayerRow]) -> Markup:
    """The share of each kernel's energy that is kept, and the relative error."""
    names = [row.name for row in rows]
    highest = max([row.relative_error or 0.0 for row in rows], default=0.0)
    y = SHARES if highest <= 1 else round_scale(0, highest)
    drawn = []
    entries = []
    kinds = ((1, "kept energy", "kept_energy"), (2, "relative error", "relative_error"))
    for series, text, key in kinds:
        points = [
            (_middle(i, names), min(y.share(value), 1.0))
            for i, row in enumerate(rows)
            if (value := getattr(row, key)) is not None
        ]
        drawn += [plot.line(series, points, HEIGHT), plot.marks(series, points, HEIGHT)]
        entries.append((plot.sample_line(series), text))
    texts = [
        f"{layer_name(row.name)}: keeps {share(row.kept_energy)}, error {share(row.relative_error)}"
        if row.kept_energy is not None
        else f"{layer_name(row.name)}: {row.decision}"
        for row in rows
    ]
    label = f"Kept energy and relative error by layer. {energy_finding(rows)}"
    return _with_legend(entries, label, y, [*drawn, plot.tips(texts, HEIGHT)], names)


def energy_finding(rows: Sequence[LayerRow]) -> str:
    """Which layers keep most and least."""
    known = [(row.kept_energy, layer_name(row.name)) for row in rows if row.kept_energy is not None]
    if not known:
        return "No layer's kept energy is known."
    (least, worst), (most, best) = min(known), max(known)
    if len(known) == 1:
        return f"{worst} keeps {share(least)} of its energy."
    return f"{worst} keeps least of its energy, {share(least)}; {best} most, {share(most)}."


def cost_chart(rows: Sequence[LayerRow], what: str) -> Markup:
    """Parameters (``what = "params"``) or MACs ("macs") of each layer, before and after."""
    names = [row.name for row in rows]
    before, after = ([getattr(row, f"{what}_{when}") for row in rows] for when in _WHEN)
    y = round_scale(0, max([*before, *after, 1]))
    width = 1 / max(len(rows), 1)
    bars = []
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        left = (i + GAP / 2) * width
        bars.append(plot.bar("before", left, width * (1 - GAP), y.share(old), HEIGHT))
        inner = (i + GAP) * width
        bars.append(plot.bar("after", inner, width * (1 - 2 * GAP), y.share(new), HEIGHT))
    unit = _UNITS[what]
    texts = [
        f"{layer_name(name)}: {count(old)} {unit} before, {count(new)} after"
        for name, old, new in zip(names, before, after, strict=True)
    ]
    entries = [(plot.sample_bar(kind), kind) for kind in _WHEN]
    label = f"Of each layer the {unit} before and after. {cost_finding(rows, what)}"
    return _with_legend(
        entries,
        label,
        y,
        [*bars, plot.tips(texts, HEIGHT)],
        names,
        [short(tick) for tick in y.ticks],
    )


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


def _with_legend(
    entries: Sequence[tuple[Markup, str]],
    label: str,
    y: Scale,
    content: Sequence[Markup | None],
    names: Sequence[str],
    y_texts: Sequence[str] | None = None,
) -> Markup:
    blocks = block_spans(names)
    dividers = [plot.divider(first / len(names), HEIGHT) for _, first, _ in blocks[1:]]
    chart = plot.plot(
        label,
        y,
        [*dividers, *content],
        height=HEIGHT,
        x_ticks=layer_ticks(names),
        y_texts=y_texts,
    )
    axis = None if blocks else tag("p", "layers in order", class_="axis")
    return tag("div", plot.legend(entries), chart, axis, class_="chart")


def _middle(index: int, names: Sequence[str]) -> float:
    return (index + 0.5) / len(names)


def _ranks_text(ranks: tuple[int, ...]) -> str:
    return ", ".join(f"R{n} {rank}" for n, rank in enumerate(ranks, 1))


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"
