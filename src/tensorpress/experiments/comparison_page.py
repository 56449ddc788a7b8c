"""A comparison for people: its rows as a Markdown table, and a plot of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tensorpress.compression.pruning import CRITERIA
from tensorpress.experiments.comparison import Row

MARKERS = "osD^vP*Xh<>"


def comparison_table(rows: Sequence[Row]) -> str:
    """The rows by budget and then by accuracy, as a Markdown table; failures are told below."""
    done = [row for row in rows if row.acc is not None]
    head = ("method", "FCR", "PCR", "before", "after", "dAcc", "speed-up", "ms", "to compress")
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [
        f"| {' | '.join(_cells(row))} |" for row in sorted(done, key=lambda r: (r.budget, -_acc(r)))
    ]
    failed = [
        f"- {row.method} at FCR {row.budget:g}: {row.reason}" for row in rows if row.acc is None
    ]
    return "\n".join([*lines, *([""] if failed else []), *failed]) + "\n"


def plot_comparison(rows: Sequence[Row], path: Path) -> None:
    """Accuracy against FCR, PCR and measured speed-up, a line a method, as a PNG.

    Above right after compression and below after fine-tuning, where there was some. Lines of
    prunings are dashed.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    done = sorted((row for row in rows if row.acc is not None), key=lambda row: row.budget)
    stages = {"acc_before": "before fine-tuning"}
    if any(row.epochs for row in done):
        stages["acc"] = "after fine-tuning"
    figure = Figure(figsize=(13, 1 + 3.7 * len(stages)), layout="constrained")
    panels = figure.subplots(len(stages), 3, sharex="col", squeeze=False)
    colours = colormaps["tab20"].colors  # type: ignore[attr-defined]
    against: dict[str, Callable[[Row], float | None]] = {
        "FCR": lambda row: row.fcr,
        "PCR": lambda row: row.pcr,
        "speed-up of a forward pass, measured": _speedup,
    }
    for line, (key, stage) in zip(panels, stages.items(), strict=True):
        for axes, (label, place) in zip(line, against.items(), strict=True):
            for number, method in enumerate(dict.fromkeys(row.method for row in done)):
                points = [(place(r), getattr(r, key)) for r in done if r.method == method]
                axes.plot(
                    *zip(*points, strict=True),
                    marker=MARKERS[number % len(MARKERS)],
                    color=colours[(2 * number + number // 10) % 20],
                    label=method,
                    lw=1.5,
                    ls="--" if method in CRITERIA else "-",
                )
            for base in {row.acc_baseline for row in done}:
                axes.axhline(base, color="black", lw=0.8, ls=":")
            axes.grid(alpha=0.3)
            if key == list(stages)[-1]:
                axes.set_xlabel(label)
        line[0].set_ylabel(f"accuracy {stage}, %")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center", fontsize=9)
    figure.savefig(path, format="png", dpi=90)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.method,
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
