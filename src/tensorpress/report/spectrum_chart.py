"""Charts of spectra: what each rank would keep, and the rank that was taken."""

from tensorpress.charts import Axis, Chart, Choice, Level, Line, even_axis, whole_axis
from tensorpress.report.quantity import layer_name
from tensorpress.report.spectra import LayerSpectra, StepSpectrum

MOST_POINTS, MOST_IN_SMALL = 48, 20
SMALL = 72
"""The height of a chart that stands among those of all layers."""


def spectrum_chart(step: StepSpectrum, number: int, *, truncated: bool = True) -> Chart:
    """Kept energy against rank; ``number`` counts the steps from 1.

    ``truncated`` as in :class:`LayerSpectra`.
    """
    full, taken = len(step.kept), step.kept[step.rank - 1]
    label = f"Step {number}: rank {step.rank} of {full} keeps {taken:.3f} of the energy"
    if not truncated:
        label = f"Unfolding {number}: rank {step.rank} of {full} keeps {taken:.3f} at most"
    shown = shown_ranks(full, step.rank, MOST_POINTS)
    points = [(0.0, 0.0), *((rank, step.kept[rank - 1]) for rank in shown)]
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
        choice=Choice(
            step.rank, taken, f"R{number} = {step.rank}" if truncated else str(step.rank)
        ),
        title=f"Step {number}" if truncated else f"Unfolding {number}",
        height=150,
    )


def small_spectra(layer: LayerSpectra) -> Chart:
    """All steps of a layer in one chart without words, rank and energy as shares from 0 to 1."""
    lines, said = [], []
    for n, step in enumerate(layer.steps):
        full, taken = len(step.kept), step.kept[step.rank - 1]
        shown = shown_ranks(full, step.rank, MOST_IN_SMALL)
        points = [(0.0, 0.0), *((rank / full, step.kept[rank - 1]) for rank in shown)]
        at = [(step.rank / full, taken)]
        lines += [Line(points, None, n, is_marked=False), Line(at, None, n, is_joined=False)]
        said.append(f"{step.rank} of {full} keeps {taken:.3f}")
    most = "" if layer.truncated else " at most"
    return Chart(
        f"{layer_name(layer.name)}: {', '.join(said)}{most}.",
        Axis(0, 1),
        even_axis((0, 0.5, 1), text="".format),
        lines=lines,
        title=layer_name(layer.name),
        height=SMALL,
    )


def shown_ranks(full: int, taken: int, most: int) -> list[int]:
    """Ranks to draw: all, or about so many of them, and always the one that was taken."""
    stride = max(1, full // most)
    return sorted({*range(1, full + 1, stride), taken, full})
