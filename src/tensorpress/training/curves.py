"""Charts over epochs: the phases of a run one after the other, as they happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorpress.charts import Chart, Line, Points, round_axis, whole_axis, write_png
from tensorpress.training.metrics import NUMBERS
from tensorpress.training.run_folder import BASELINE, CONTROL, FINETUNE

NAMES = {
    BASELINE: "baseline",
    FINETUNE: "compressed, fine-tuned",
    CONTROL: "baseline trained on as long",
}


@dataclass(frozen=True)
class Epoch:
    """A line of the metrics; what it lacks is None."""

    phase: str
    epoch: int
    lr: float | None
    loss: float | None
    train_acc: float | None
    test_acc: float | None
    seconds: float | None


@dataclass(frozen=True)
class Curve:
    """A phase on a common axis of epochs, which it enters after ``start`` others."""

    name: str
    start: int
    epochs: Sequence[Epoch]
    began: float | None = None

    def points(self, key: str, *, from_start: bool = False) -> list[tuple[float, float]]:
        """(epochs since the run began, value) where there is a value."""
        first = [(float(self.start), self.began)] if from_start and self.began is not None else []
        found = ((self.start + epoch.epoch, getattr(epoch, key)) for epoch in self.epochs)
        return [*first, *((float(x), value) for x, value in found if value is not None)]


def curve_charts(
    epochs: Sequence[Epoch], began: Mapping[str, float | None] | None = None
) -> list[Chart]:
    """Accuracy and training loss over the epochs of all phases; those of which there is anything.

    What follows the baseline begins where it ended. ``began`` gives the accuracy in percent that a
    phase began with, where that is known.
    """
    first = max([epoch.epoch for epoch in epochs if epoch.phase == BASELINE], default=0)
    curves = [
        Curve(
            NAMES.get(phase, phase),
            0 if phase == BASELINE else first,
            [epoch for epoch in epochs if epoch.phase == phase],
            (began or {}).get(phase),
        )
        for phase in dict.fromkeys(epoch.phase for epoch in epochs)
    ]
    tested = [curve.points("test_acc", from_start=True) for curve in curves]
    trained = [curve.points("train_acc") for curve in curves]
    losses = [curve.points("loss") for curve in curves]
    charts = (
        _chart(
            "Accuracy on test images in percent", "accuracy, %", curves, tested, "{:.2f} %", trained
        ),
        _chart("Training loss", "training loss", curves, losses, "{:.3g}"),
    )
    return [chart for chart in charts if chart]


def plot_curves(metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw accuracy and loss over the epochs of all phases.

    ``metrics`` are the lines of ``metrics.jsonl``; ``path`` gets a PNG.
    """
    epochs = [
        Epoch(line["phase"], line["epoch"], *(line.get(key) for key in NUMBERS)) for line in metrics
    ]
    write_png(path, curve_charts(epochs))


def _chart(
    what: str,
    name: str,
    curves: Sequence[Curve],
    lines: Sequence[Points],
    text: str,
    faint: Sequence[Points] = (),
) -> Chart | None:
    values = [value for points in (*lines, *faint) for _, value in points]
    if not values:
        return None
    last = max((curve.start + epoch.epoch for curve in curves for epoch in curve.epochs), default=1)
    ends = "; ".join(
        f"{curve.name} ends at {text.format(points[-1][1])}"
        for curve, points in zip(curves, lines, strict=True)
        if points
    )
    return Chart(
        f"{what} over the epochs: {ends}.",
        whole_axis(last, "epochs"),
        round_axis(min(values) if faint else min(0.0, *values), max(values), name),
        lines=[
            *(Line(p, None, n, is_marked=False, is_faint=True) for n, p in enumerate(faint)),
            *(Line(p, curves[n].name, n) for n, p in enumerate(lines)),
        ],
    )
