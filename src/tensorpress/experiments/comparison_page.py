"""A comparison for people: its rows as a Markdown table, and a plot of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tensorpress.charts import Chart, Level, Line, round_axis, write_png
from tensorpress.choices import AUTO
from tensorpress.compression.pruning import CRITERIA
from tensorpress.experiments.comparison import Row


def comparison_table(rows: Sequence[Row]) -> str:
    """The rows by budget and then by accuracy, as a Markdown table; failures are told below."""
    done = [row for row in rows if row.acc is not None]
    head = ("method", "FCR", "PCR", "before", "after", "dAcc", "speed-up", "ms", "to compress")
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [
        f"| {' | '.join(_cells(row))} |" for row in sorted(done, key=lambda r: (r.budget, -_acc(r)))
    ]
    failed = [
        f"- {row.name} at FCR {row.budget:g}: {row.reason}" for row in rows if row.acc is None
    ]
    return "\n".join([*lines, *([""] if failed else []), *failed]) + "\n"


def plot_comparison(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against FCR, PCR and measured speed-up, a line a method, as a PNG.

    Above right after compression and below after fine-tuning, where there was some. Lines of
    prunings are dashed. What is in int8 stands against the speed-up alone, in the colour of its
    method, as it changes neither ratio.
    """
    done = sorted((row for row in rows if row.acc is not None), key=lambda row: row.budget)
    stages = {"acc_before": "before fine-tuning"}
    if any(row.epochs for row in done):
        stages["acc"] = "after fine-tuning"
    charts = [
        _chart(done, place, name, key, f"accuracy {stage}, %")
        for key, stage in stages.items()
        for name, place in AGAINST.items()
    ]
    write_png(path, charts, columns=len(AGAINST))


def _chart(
    rows: Sequence[Row], place: Callable[[Row], float], name: str, key: str, stage: str
) -> Chart:
    methods = list(dict.fromkeys(row.method for row in rows))
    rows = [row for row in rows if place is _speedup or row.precision == AUTO]
    lines = []
    for label in dict.fromkeys(row.name for row in rows):
        some = [row for row in rows if row.name == label]
        first = some[0]
        dashes = int(first.method in CRITERIA) + 2 * (first.precision != AUTO)
        points = [(place(row), getattr(row, key)) for row in some]
        lines.append(Line(points, label, methods.index(first.method), dashes=dashes))
    known = {row.acc_baseline for row in rows if row.acc_baseline is not None}
    levels = [Level(base, "dense") for base in sorted(known)]
    places = [place(row) for row in rows]
    heights = [getattr(row, key) for row in rows] + [level.value for level in levels]
    return Chart(
        f"{stage} against {name}",
        round_axis(min(places), max(places), name),
        round_axis(min(heights), max(heights), stage),
        lines,
        levels=levels,
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.fcr:.2f}",
        f"{row.pcr:.2f}",
        f"{row.acc_before:.2f}",
        f"{row.acc:.2f} ± {row.stderr:.2f}",
        f"{row.dacc:+.2f}",
        f"{_speedup(row):.2f}x",
        f"{row.milliseconds:.1f}",
        f"{row.seconds:.1f} s",
    )


def _speedup(row: Row) -> float:
    assert row.milliseconds is not None
    assert row.milliseconds_dense is not None
    return row.milliseconds_dense / row.milliseconds


def _acc(row: Row) -> float:
    assert row.acc is not None
    return row.acc


AGAINST: dict[str, Callable[[Row], float]] = {
    "FCR": lambda row: row.fcr or 0.0,
    "PCR": lambda row: row.pcr or 0.0,
    "speed-up of a forward pass, measured": _speedup,
}
