"""The chart of one step's spectrum: what each rank would keep, and the rank that was taken."""

from tensorpress.charts import Chart, Choice, Level, Line, even_axis, whole_axis
from tensorpress.report.spectra import StepSpectrum

MOST_POINTS = 48


def spectrum_chart(step: StepSpectrum, number: int) -> Chart:
    """Kept energy against rank; ``number`` counts the steps from 1."""
    full, taken = len(step.kept), step.kept[step.rank - 1]
    label = f"Step {number}: rank {step.rank} of {full} keeps {taken:.3f} of the energy"
    points = [(0.0, 0.0), *((rank, step.kept[rank - 1]) for rank in shown_ranks(full, step.rank))]
    levels = []
    if step.threshold is not None:
        label += f"; the threshold is {step.threshold:.3g}"
        levels = [Level(step.threshold, f"threshold {step.threshold:.3g}")]
    return Chart(
        f"{label}.",
        whole_axis(full, "rank"),
        even_axis((0, 0.5, 1), "kept share of the energy" if number == 1 else ""),
        lines=[Line(points, is_marked=False, filled_to=step.rank)],
        levels=levels,
        choice=Choice(step.rank, taken, f"R{number} = {step.rank}"),
        title=f"Step {number}",
        height=150,
    )


def shown_ranks(full: int, taken: int) -> list[int]:
    """Ranks to draw: all, or enough of them, and always the one that was taken."""
    stride = max(1, full // MOST_POINTS)
    return sorted({*range(1, full + 1, stride), taken, full})
