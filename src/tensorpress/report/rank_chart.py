"""The chart of the ranks along the network."""

from collections.abc import Iterable, Mapping, Sequence

from tensorpress.charts import Chart, Line, round_axis
from tensorpress.report.forms import Form
from tensorpress.report.layer_axis import by_layer
from tensorpress.report.quantity import layer_name

Ranked = Sequence[tuple[str, tuple[int, ...] | None]]
"""Name and ranks of each layer, in order; None for one that stays."""

FullRanks = Mapping[str, tuple[int, ...]]
"""The ranks at which layers lose nothing, by name, where they are known."""


def rank_chart(layers: Ranked, full: FullRanks, forms: Sequence[Form] = ()) -> Chart:
    """The ranks R1, R2, ... along the network, as shares of full rank where these are known.

    Of layers of several forms, whose ranks mean different things, each has its colour.
    """
    full = _known(layers, full)
    texts = [
        f"{layer_name(name)}: {_ranks_text(ranks, full.get(name)) if ranks else 'stays as it is'}"
        for name, ranks in layers
    ]
    decomposed = sum(1 for _, ranks in layers if ranks)
    label = f"Ranks of {decomposed} decomposed layers; {rank_finding(layers, full)}"
    if full:
        label += f" Drawn are the shares of full rank, of {len(full)} layers."
    treated = [form for form in forms if form.series is not None]
    lines = []
    if len(treated) > 1:
        for form in treated:
            for n, points in enumerate(_points(layers, full, form.places)):
                name = f"{form.name} R{n + 1}"
                marker = n if _depth(layers) > 1 else None
                lines.append(Line(points, name, form.series or 0, marker=marker, is_joined=False))
    else:
        for n, points in enumerate(_points(layers, full, range(len(layers)))):
            lines.append(Line(points, f"R{n + 1}", n))
    lines = [line for line in lines if line.points]
    highest = max((value for line in lines for _, value in line.points), default=1)
    y = (
        round_axis(0, highest, "share of full rank", lambda value: f"{100 * value:.3g} %")
        if full
        else round_axis(0, highest, "rank")
    )
    return by_layer(label, [name for name, _ in layers], y, texts, lines=lines)


def rank_finding(layers: Ranked, full: FullRanks) -> str:
    """What the ranks are, in a sentence."""
    full = _known(layers, full)
    parts = []
    for n in range(_depth(layers)):
        values = [ranks[n] for _, ranks in layers if ranks and n < len(ranks)]
        part = f"R{n + 1} {_span([f'{v}' for v in (min(values), max(values))], 'is')}"
        shares = [r[n] / full[name][n] for name, r in layers if r and n < len(r) and name in full]
        if shares:
            ends = [f"{100 * value:.0f} %" for value in (min(shares), max(shares))]
            part += f" ({_span(ends)} of full rank)"
        parts.append(part)
    return f"{', '.join(parts)}." if parts else "No layer was decomposed."


def _points(
    layers: Ranked, full: FullRanks, places: Iterable[int]
) -> list[list[tuple[float, float]]]:
    """For R1, R2, ... where the layers at these places stand, and the ranks or their shares."""
    some = [(place, *layers[place]) for place in places]
    return [
        [
            (float(place), ranks[n] / full[name][n] if full else float(ranks[n]))
            for place, name, ranks in some
            if ranks and n < len(ranks) and (name in full or not full)
        ]
        for n in range(_depth(layers))
    ]


def _known(layers: Ranked, full: FullRanks) -> FullRanks:
    """Those of decomposed layers that no rank is above: a pruned layer had other ones."""
    return {
        name: full[name]
        for name, ranks in layers
        if ranks
        and name in full
        and len(ranks) == len(full[name])
        and all(rank <= most for rank, most in zip(ranks, full[name], strict=True))
    }


def _span(ends: Sequence[str], only: str = "") -> str:
    low, high = ends
    if low == high:
        return f"{only} {low}".strip()
    return f"runs from {low} to {high}" if only else f"{low} to {high}"


def _depth(layers: Ranked) -> int:
    return max((len(ranks) for _, ranks in layers if ranks), default=0)


def _ranks_text(ranks: tuple[int, ...], full: tuple[int, ...] | None) -> str:
    if full is None:
        return ", ".join(f"R{n} {rank}" for n, rank in enumerate(ranks, 1))
    pairs = enumerate(zip(ranks, full, strict=True), 1)
    return ", ".join(f"R{n} {rank} of {most}" for n, (rank, most) in pairs)
