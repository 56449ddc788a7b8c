"""The charts of what each layer costs, before and after."""

from collections.abc import Sequence
from itertools import accumulate

from tensorpress.charts import Bars, Chart, round_axis
from tensorpress.report.layer_axis import INNER, OUTER, block_spans, by_layer
from tensorpress.report.quantity import count, layer_name, percent, short
from tensorpress.surgery import LayerRow


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
        Bars(before, "before", "before", OUTER),
        Bars(after, "after", "after", INNER),
    ]
    return by_layer(label, [row.name for row in rows], y, texts, bars=bars)


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
