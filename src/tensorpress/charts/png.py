"""Charts as PNG, for papers and slides, drawn by matplotlib."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorpress.charts.axis import Axis
from tensorpress.charts.chart import Chart, Line
from tensorpress.files import printable

COLOURS = (
    *("#1d5fc4", "#b04a00", "#0a7a57", "#8a3ab9", "#c4317b"),
    *("#5b6b1f", "#0e7fa3", "#7a4b2b", "#d18b00", "#59636e"),
    *("#e0607e", "#3b3f8f", "#6fae3d", "#b58fd6", "#2fb8a6"),
)
"""Of the series; the page's light theme has the first eight."""

LEFT = "#808b9a"
"""Of what stays as it was."""

BARS = {
    "before": {"color": f"{LEFT}4d", "edgecolor": LEFT},
    "after": {"color": "#1d5fc4"},
}
DASHES = ("-", "--", ":", "-.")
MARKERS = "os^DvP*Xh<>"
MOST_INSIDE = 6
LONGEST_TEXT, LONGEST_NAME = 40, 60
"""Of what stands in a chart, and of names in a legend."""


def can_plot() -> bool:
    """Whether matplotlib, which is optional, is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write_png(
    path: Path,
    charts: Sequence[Chart],
    *,
    columns: int = 0,
    title: str = "",
    size: tuple[float, float] | None = None,
) -> None:
    """Draw ``charts`` side by side, or in rows of so many columns, below a common title.

    Long legends stand beside them as one, in which a name stands once; a chart whose names are all
    there has none of its own. ``size`` is that of the picture in inches, of 120 pixels each; by
    default it grows with the charts.
    """
    from matplotlib.figure import Figure

    columns = columns or len(charts)
    rows = -(-len(charts) // columns)
    with_text = max([len(b.values) for c in charts for b in c.bars if b.texts], default=0)
    size = size or (max(9.0, 4.2 * columns, 1.0 * with_text), 4.0 * rows)
    figure = Figure(figsize=size, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes, chart in zip(places, charts, strict=True):
        _draw(axes, chart)
    _name(figure)
    figure.suptitle(_text(title))
    figure.savefig(path, format="png", dpi=120)


def _name(figure: Any) -> None:
    found = []
    beside: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        found.append((axes, names))
        if len(names) > MOST_INSIDE:
            beside = dict(zip(names, handles, strict=True)) | beside
    for axes, names in found:
        if not beside.keys() >= set(names):
            axes.legend()
    if beside:
        figure.legend(beside.values(), beside.keys(), loc="outside right center", fontsize=9)


def _draw(axes: Any, chart: Chart) -> None:
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    for x in chart.dividers:
        axes.axvline(x, color="0.8", linestyle=":", linewidth=1)
    for bars in chart.bars:
        places = [number + bars.shift for number in range(len(bars.values))]
        look = BARS[bars.kind]
        if bars.series is not None:
            look = {"color": COLOURS[bars.series % len(COLOURS)]}
        drawn = axes.bar(places, bars.values, bars.width, label=_text(bars.name), **look)
        if bars.texts:
            axes.bar_label(drawn, bars.texts, fontsize=8)
    for line in chart.lines:
        _draw_line(axes, line)
    for row, lane in enumerate(reversed(chart.lanes)):
        colour = LEFT if lane.series is None else COLOURS[lane.series % len(COLOURS)]
        spans = [(place - 0.42, 0.84) for place in lane.places]
        axes.broken_barh(spans, (row + 0.25, 0.5), color=colour)
        axes.text(chart.x.low, row + 0.8, _text(lane.text), fontsize=9)
    for level in chart.levels:
        axes.axhline(level.value, color="#a8320f", linestyle="--", linewidth=1.2)
        at = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        axes.text(0.99, level.value, _text(level.text), fontsize=9, **at)
    if chart.choice:
        choice = chart.choice
        axes.axvline(choice.x, color=COLOURS[0], linestyle=":")
        axes.plot([choice.x], [choice.y], MARKERS[0], color=COLOURS[0])
        side, shift = ("right", -8) if chart.x.share(choice.x) > 0.6 else ("left", 8)
        beside = {"xytext": (shift, -14), "textcoords": "offset points", "ha": side}
        axes.annotate(_text(choice.text), (choice.x, choice.y), **beside)
    axes.set_title(_text(chart.title))
    _scale(axes, "x", chart.x)
    _scale(axes, "y", chart.y)


def _draw_line(axes: Any, line: Line) -> None:
    if not line.points:
        return
    colour: Any = COLOURS[line.series % len(COLOURS)]
    if line.shade is not None:
        colour = (0.1 + 0.8 * line.shade, 0.1 + 0.6 * line.shade, 0.4 + 0.1 * line.shade)
    dashes = line.series if line.dashes is None else line.dashes
    marker = line.series if line.marker is None else line.marker
    axes.errorbar(
        *zip(*line.points, strict=True),
        yerr=line.errors,
        errorevery=line.stride,
        capsize=3,
        color=colour,
        linestyle=DASHES[dashes % len(DASHES)] if line.is_joined else "",
        marker=MARKERS[marker % len(MARKERS)] if line.is_marked else "",
        markevery=line.stride,
        markersize=5,
        clip_on=False,
        alpha=0.45 if line.is_faint else 1.0,
        label=line.name and _text(line.name, LONGEST_NAME),
    )
    if line.filled:
        axes.fill_between(*zip(*line.filled, strict=True), color=colour, alpha=0.14)


def _scale(axes: Any, which: str, axis: Axis) -> None:
    if axis.is_log:
        axes.set(**{f"{which}scale": "log"})
    texts = [_text(text) for text in axis.texts]
    axes.set(
        **{
            f"{which}lim": (axis.low, axis.high),
            f"{which}ticks": axis.ticks,
            f"{which}ticklabels": texts,
            f"{which}label": _text(axis.name),
        }
    )


def _text(text: str, longest: int = LONGEST_TEXT) -> str:
    """Text of a sensible length without matplotlib's formulas: a dollar would start one."""
    return printable(text)[:longest].replace("$", r"\$")
