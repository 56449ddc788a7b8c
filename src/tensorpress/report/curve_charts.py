"""Charts over epochs: the phases of a run one after the other, as they happened."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorpress.report import plot
from tensorpress.report.markup import Markup, tag
from tensorpress.report.material import Epoch, Material
from tensorpress.report.scale import Scale, round_scale
from tensorpress.training.stages import BASELINE, CONTROL, FINETUNE

HEIGHT = 210
MOST_MARKS = 40
NAMES = {
    BASELINE: "baseline",
    FINETUNE: "compressed, fine-tuned",
    CONTROL: "baseline trained on as long",
}


@dataclass(frozen=True)
class Curve:
    """A phase on a common axis of epochs.

    Attributes:
        name: for people.
        series: its line style.
        start: epochs before it began.
        began: accuracy in percent that it began with, where that is known.
        epochs: its lines of the metrics.
    """

    name: str
    series: int
    start: int
    began: float | None
    epochs: tuple[Epoch, ...]

    @property
    def end(self) -> int:
        return self.start + max(epoch.epoch for epoch in self.epochs)

    def points(self, key: str, *, from_start: bool = False) -> list[tuple[float, float]]:
        """(epochs since the run began, value) where there is a value."""
        first = [(float(self.start), self.began)] if from_start and self.began is not None else []
        found = ((self.start + epoch.epoch, getattr(epoch, key)) for epoch in self.epochs)
        return [*first, *((float(x), value) for x, value in found if value is not None)]


def curves_of(material: Material) -> list[Curve]:
    """The phases of a run; what follows the baseline begins where it ended."""
    phases = list(dict.fromkeys(epoch.phase for epoch in material.epochs))
    trained = [epoch.epoch for epoch in material.epochs if epoch.phase == BASELINE]
    began = {
        FINETUNE: material.untuned.percent if material.untuned else None,
        CONTROL: material.before.percent if material.before else None,
    }
    return [
        Curve(
            NAMES.get(phase, phase),
            number % plot.SERIES + 1,
            0 if phase == BASELINE else max(trained, default=0),
            began.get(phase),
            tuple(epoch for epoch in material.epochs if epoch.phase == phase),
        )
        for number, phase in enumerate(phases)
    ]


def accuracy_chart(curves: Sequence[Curve]) -> Markup | None:
    """Accuracy on test images (marked) and on training images (faint) over the epochs."""
    tested = [curve.points("test_acc", from_start=True) for curve in curves]
    trained = [curve.points("train_acc") for curve in curves]
    values = [value for points in (*tested, *trained) for _, value in points]
    if not values:
        return None
    y = round_scale(min(values), max(values))
    x = _epochs(curves)
    drawn = []
    for curve, points in zip(curves, trained, strict=True):
        drawn.append(
            tag("g", plot.line(curve.series, _placed(points, x, y), HEIGHT), class_="faint")
        )
    for curve, points in zip(curves, tested, strict=True):
        drawn += _marked(curve.series, _placed(points, x, y))
    entries = [(plot.sample_line(curve.series), curve.name) for curve in curves]
    last = "; ".join(
        f"{curve.name} ends at {points[-1][1]:.2f} %"
        for curve, points in zip(curves, tested, strict=True)
        if points
    )
    label = f"Accuracy on test images in percent over the epochs: {last}."
    return _chart(entries, label, y, drawn, x)


def loss_chart(curves: Sequence[Curve]) -> Markup | None:
    """Training loss over the epochs."""
    lines = [curve.points("loss") for curve in curves]
    values = [value for points in lines for _, value in points]
    if not values:
        return None
    y, x = round_scale(min(0.0, *values), max(values)), _epochs(curves)
    drawn = []
    for curve, points in zip(curves, lines, strict=True):
        drawn += _marked(curve.series, _placed(points, x, y))
    entries = [(plot.sample_line(curve.series), curve.name) for curve in curves]
    last = "; ".join(
        f"{curve.name} ends at {points[-1][1]:.3g}"
        for curve, points in zip(curves, lines, strict=True)
        if points
    )
    return _chart(entries, f"Training loss over the epochs: {last}.", y, drawn, x)


def _epochs(curves: Sequence[Curve]) -> Scale:
    last = max([curve.end for curve in curves], default=1)
    ticks = round_scale(0, max(last, 1), 6).ticks
    whole = tuple(tick for tick in ticks if tick <= last and tick == int(tick))
    return Scale(0.0, float(max(last, 1)), whole)


def _marked(series: int, points: Sequence[tuple[float, float]]) -> list[Markup]:
    shown = points if len(points) <= MOST_MARKS else (*points[:1], *points[-1:])
    return [plot.line(series, points, HEIGHT), plot.marks(series, shown, HEIGHT)]


def _placed(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x.share(epoch), y.share(value)) for epoch, value in points]


def _chart(
    entries: Sequence[tuple[Markup, str]],
    label: str,
    y: Scale,
    drawn: Sequence[Markup],
    x: Scale,
) -> Markup:
    ticks = [(x.share(tick), f"{tick:g}") for tick in x.ticks]
    chart = plot.plot(label, y, drawn, height=HEIGHT, x_ticks=ticks)
    axis = tag("p", "epochs", class_="axis")
    return tag("div", plot.legend(entries), chart, axis, class_="chart")
