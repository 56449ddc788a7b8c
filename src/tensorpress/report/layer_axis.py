"""Charts with a layer a column: their axis has the names of blocks, or numbers."""

from collections.abc import Sequence

from tensorpress.charts import Axis, Bars, Chart, Line

LONGEST_NAME = 12
MOST_BLOCKS = 12
ROOM = 0.14
"""Of the width of a chart on a phone, what a name on its axis takes."""
OUTER, INNER = 0.78, 0.56
"""Of a layer's column, what a bar takes, and one in front of another."""


def by_layer(
    label: str,
    names: Sequence[str],
    y: Axis,
    tips: Sequence[str],
    *,
    lines: Sequence[Line] = (),
    bars: Sequence[Bars] = (),
) -> Chart:
    """A chart of layers side by side; ``label`` says it in words, and ``tips`` each of them."""
    return Chart(label, layer_axis(names), y, lines, bars, dividers=dividers_of(names), tips=tips)


def dividers_of(names: Sequence[str]) -> list[float]:
    """Where one block of layers ends and the next begins."""
    return [first - 0.5 for _, first, _ in block_spans(names)[1:]]


def layer_axis(names: Sequence[str]) -> Axis:
    """An axis of layers side by side; the first stands at 0."""
    ticks = layer_ticks(names)
    return Axis(
        -0.5,
        len(names) - 0.5,
        tuple(place * len(names) - 0.5 for place, _ in ticks),
        tuple(text for _, text in ticks),
        "" if block_spans(names) else "layers in order",
    )


def layer_ticks(names: Sequence[str]) -> list[tuple[float, str]]:
    """(position, text) for layers side by side: the names of their blocks, or their numbers.

    A block is what stands before the first dot. Its name stands in its middle; the larger blocks
    come first where there is no room for all.
    """
    blocks = block_spans(names)
    if not blocks:
        return number_ticks(len(names))
    placed: list[tuple[float, str]] = []
    for name, first, last in sorted(blocks, key=lambda block: block[1] - block[2]):
        middle = (first + last) / 2 / len(names)
        half = ROOM / 2 <= middle <= 1 - ROOM / 2
        if half and all(abs(middle - other) >= ROOM for other, _ in placed):
            placed.append((middle, shortened(name)))
    return sorted(placed)


def block_spans(names: Sequence[str]) -> list[tuple[str, int, int]]:
    """(block, first layer, one past its last layer), in order.

    None where blocks tell little: one holds nearly all layers, or they are too many to name.
    """
    spans: list[tuple[str, int, int]] = []
    for index, name in enumerate(names):
        block = name.partition(".")[0]
        if spans and spans[-1][0] == block:
            spans[-1] = (block, spans[-1][1], index + 1)
        else:
            spans.append((block, index, index + 1))
    largest = max((end - start for _, start, end in spans), default=0)
    return spans if len(spans) <= MOST_BLOCKS and largest <= 0.8 * len(names) else []


def number_ticks(count: int) -> list[tuple[float, str]]:
    """(position, text) of round numbers from 1 to ``count``."""
    step = next(step for step in _STEPS if count / step <= 6)
    numbers = [1, *range(step, count + 1, step)] if step > 1 else range(1, count + 1)
    return [((number - 0.5) / count, str(number)) for number in numbers]


def shortened(name: str) -> str:
    """A name that fits on an axis."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


_STEPS = [factor * 10**power for power in range(12) for factor in (1, 2, 5)]
