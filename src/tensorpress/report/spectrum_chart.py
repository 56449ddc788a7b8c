"""The chart of one step's spectrum: what each rank would keep, and the rank that was taken."""

from tensorpress.report import plot
from tensorpress.report.markup import Markup, tag
from tensorpress.report.scale import Scale, round_scale
from tensorpress.report.spectra import StepSpectrum

HEIGHT = 150
MOST_POINTS = 48
SHARES = Scale(0.0, 1.0, (0.0, 0.5, 1.0))


def spectrum_chart(step: StepSpectrum, number: int) -> Markup:
    """Kept energy against rank; ``number`` counts the steps from 1."""
    full = len(step.kept)
    shown = shown_ranks(full, step.rank)
    points = [(0.0, 0.0), *((rank / full, step.kept[rank - 1]) for rank in shown)]
    taken = step.kept[step.rank - 1]
    at, up = step.rank / full, HEIGHT * (1 - taken)
    side, shift = ("end", -8) if at > 0.6 else ("start", 8)
    drawn = [
        plot.area([point for point in points if point[0] <= at], HEIGHT),
        plot.line(1, points, HEIGHT),
        plot.divider(at, HEIGHT, "taken"),
        plot.marks(1, [(at, taken)], HEIGHT),
        tag(
            "text",
            f"R{number} = {step.rank}",
            class_=f"note {side}",
            x=plot.percent(at),
            dx=shift,
            y=f"{max(up, 14) + 18:.1f}",
        ),
    ]
    if step.threshold is not None:
        drawn.insert(1, plot.level(step.threshold, HEIGHT, f"threshold {step.threshold:.3g}"))
    label = f"Step {number}: rank {step.rank} of {full} keeps {taken:.3f} of the energy" + (
        "." if step.threshold is None else f"; the threshold is {step.threshold:.3g}."
    )
    ticks = [tick for tick in round_scale(0, full).ticks if 0 < tick <= full and tick % 1 == 0]
    return plot.plot(
        label,
        SHARES,
        drawn,
        height=HEIGHT,
        x_ticks=[(tick / full, f"{tick:g}") for tick in ticks],
    )


def shown_ranks(full: int, taken: int) -> list[int]:
    """Ranks to draw: all, or enough of them, and always the one that was taken."""
    stride = max(1, full // MOST_POINTS)
    return sorted({*range(1, full + 1, stride), taken, full})
