"""Accuracy with its standard errors, beside that of the dense network."""

from collections.abc import Sequence
from dataclasses import replace

from tensorpress.charts import Axis, Chart, Level, Line, round_axis
from tensorpress.report.material import Material, Score
from tensorpress.report.quantity import scored


def accuracy_chart(material: Material) -> Chart | None:
    """The known accuracies in the order in which they came to be; None of a single one."""
    named = (
        ("dense", material.before),
        ("compressed", material.untuned),
        ("tuned", material.after),
        ("control", material.control),
    )
    known = [(name, score) for name, score in named if score is not None]
    if len(known) < 2:
        return None
    scores = [score for _, score in known]
    lows, highs = ([s.percent + side * (s.stderr or 0.0) for s in scores] for side in (-1, 1))
    points = [(float(n), score.percent) for n, score in enumerate(scores)]
    said = "; ".join(f"{score.label} {scored(score.percent, score.stderr)}" for score in scores)
    return Chart(
        f"Accuracy on test images: {said}.",
        Axis(-0.5, len(known) - 0.5, tuple(range(len(known))), tuple(name for name, _ in known)),
        round_axis(min(lows), max(highs), "accuracy, %"),
        [Line(points, errors=_errors(scores), is_joined=False)],
        levels=_levels(material.before),
        tips=[f"{s.label}: {scored(s.percent, s.stderr)}" for s in scores],
    )


def with_baseline(chart: Chart, before: Score | None) -> Chart:
    """A chart of accuracy over epochs with standard errors and the line of the dense network."""
    if before is None:
        return chart
    lines = [
        replace(line, errors=_errors([replace(before, percent=y) for _, y in line.points]))
        if line.name
        else line
        for line in chart.lines
    ]
    ends = (chart.y.low, chart.y.high, before.percent)
    y = round_axis(min(ends), max(ends), chart.y.name)
    return replace(chart, y=y, lines=lines, levels=_levels(before))


def _errors(scores: Sequence[Score]) -> list[float] | None:
    found = [score.stderr for score in scores]
    return None if None in found else [error or 0.0 for error in found]


def _levels(before: Score | None) -> list[Level]:
    return [] if before is None else [Level(before.percent, f"dense {before.percent:.2f} %")]
