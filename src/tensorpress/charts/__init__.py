"""Charts: said once as data, drawn on a page by its template and as PNG by matplotlib."""

from tensorpress.charts.axis import Axis, even_axis, log_axis, round_axis, whole_axis
from tensorpress.charts.chart import Bars, Chart, Choice, Lane, Level, Line, Points
from tensorpress.charts.png import COLOURS, can_plot, write_png

__all__ = [
    "COLOURS",
    "Axis",
    "Bars",
    "Chart",
    "Choice",
    "Lane",
    "Level",
    "Line",
    "Points",
    "can_plot",
    "even_axis",
    "log_axis",
    "round_axis",
    "whole_axis",
    "write_png",
]
