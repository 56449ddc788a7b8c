"""What a chart shows, as data: the page and the PNGs draw the same one."""

from collections.abc import Sequence
from dataclasses import dataclass

from tensorpress.charts.axis import Axis

MOST_MARKS = 40
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A line through points.

    Attributes:
        points: (x, y), from left to right.
        name: in the legend; None for a line that is not named there.
        series: its colour; its dashes and marker too where ``dashes`` and ``marker`` are None.
        is_marked: whether its points are marked.
        is_faint: for what only accompanies another line.
        filled_to: the surface below is shaded up to this x.
        shade: in place of the colour of the series, from 0, dark, to 1, light.
        errors: standard errors of the points.
        is_joined: whether a line goes from point to point; otherwise each of them is marked.
    """

    points: Points
    name: str | None = None
    series: int = 0
    dashes: int | None = None
    marker: int | None = None
    is_marked: bool = True
    is_faint: bool = False
    filled_to: float | None = None
    shade: float | None = None
    errors: Sequence[float] | None = None
    is_joined: bool = True

    @property
    def stride(self) -> int:
        """Of so many points one is marked: all, or enough to tell the lines apart."""
        return -(-len(self.points) // MOST_MARKS) if self.points and self.is_joined else 1

    @property
    def reach(self) -> Sequence[tuple[float, float, float]]:
        """(x, low, high) of each point, one standard error to either side."""
        pairs = zip(self.points, self.errors or (), strict=False)
        return [(x, y - error, y + error) for (x, y), error in pairs]

    @property
    def filled(self) -> Points:
        """The points above the shaded surface."""
        if self.filled_to is None:
            return []
        return [point for point in self.points if point[0] <= self.filled_to]


@dataclass(frozen=True)
class Bars:
    """A bar for each of the values, at x = 0, 1, ...

    Attributes:
        values: their heights.
        kind: "before" or "after", which is its colour.
        name: in the legend.
        width: of a bar; ``shift``: how far its middle is from the whole number.
        texts: written above the bars.
        series: a colour in place of that of its kind.
    """

    values: Sequence[float]
    kind: str
    name: str
    width: float = 0.8
    shift: float = 0.0
    texts: Sequence[str] = ()
    series: int | None = None


@dataclass(frozen=True)
class Lane:
    """A row that marks those columns of a chart, 0, 1, ..., that are of one sort.

    Attributes:
        text: above it.
        places: the columns.
        series: its colour; None for that of what stays as it was.
    """

    text: str
    places: Sequence[int]
    series: int | None


@dataclass(frozen=True)
class Level:
    """A line across the whole chart at the height ``value``, with its text."""

    value: float
    text: str


@dataclass(frozen=True)
class Choice:
    """A point that was chosen, and its text; a line stands at its x."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        label: in words what it shows, for those who do not see it.
        title: above it, in a PNG; a page has headings.
        lanes: rows from the top down, in place of all that has a height.
        dividers: x where one part of the chart ends.
        tips: what the pointer is told, over as many equal columns; on a page.
        height: in pixels, on a page.
    """

    label: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    bars: Sequence[Bars] = ()
    levels: Sequence[Level] = ()
    choice: Choice | None = None
    title: str = ""
    lanes: Sequence[Lane] = ()
    dividers: Sequence[float] = ()
    tips: Sequence[str] = ()
    height: int = 210
