"""The parts of a chart as inline SVG.

Written by hand, not by matplotlib: horizontal positions are percentages of the chart, so that it
fills a phone and a desk with text of one size, and colours are CSS classes, so that it follows dark
mode. Lines, whose points cannot be percentages, lie in an inner picture that is stretched.
"""

from collections.abc import Iterable, Sequence

from tensorpress.report.markup import Markup, join, tag
from tensorpress.report.scale import Scale

SERIES = 4
"""Line styles that the style sheet has: colour, dashes and marker together."""

WIDE = 1000


def plot(
    label: str,
    y: Scale,
    content: Iterable[Markup | None],
    *,
    height: int = 200,
    x_ticks: Sequence[tuple[float, str]] = (),
    y_texts: Sequence[str] | None = None,
) -> Markup:
    """A chart: grid, axis texts and ``content``. ``label`` says what it shows."""
    texts = y_texts or [f"{tick:g}" for tick in y.ticks]
    grid: list[Markup] = []
    for tick, text in zip(y.ticks, texts, strict=True):
        at = f"{height * (1 - y.share(tick)):.1f}"
        grid.append(tag("line", class_="grid", x1="0", x2="100%", y1=at, y2=at))
        grid.append(tag("text", text, class_="y", x="-8", y=at, dy=".32em"))
    for place, text in x_ticks:
        grid.append(tag("text", text, class_="x", x=percent(place), y=height, dy="1.5em"))
    drawing = tag("svg", *grid, *content, role="img", aria_label=label, width="100%", height=height)
    return tag("div", drawing, class_="plot")


def line(series: int, points: Sequence[tuple[float, float]], height: int) -> Markup:
    """A line through (share of the width, share of the height from below)."""
    joined = " ".join(f"{WIDE * x:.1f},{height * (1 - y):.1f}" for x, y in points)
    return _stretched(tag("polyline", class_=f"line s{series}", points=joined), height)


def area(points: Sequence[tuple[float, float]], height: int) -> Markup:
    """The surface between such a line and the axis."""
    inner = " ".join(f"{WIDE * x:.1f},{height * (1 - y):.1f}" for x, y in points)
    first, last = (f"{WIDE * points[end][0]:.1f},{height}" for end in (0, -1))
    return _stretched(tag("polygon", class_="area", points=f"{first} {inner} {last}"), height)


def marks(series: int, points: Iterable[tuple[float, float]], height: int) -> Markup:
    """A marker at each point."""
    return join(
        tag(
            "use",
            class_=f"mark s{series}",
            href=f"#mark{series}",
            x=percent(x),
            y=f"{height * (1 - y):.1f}",
        )
        for x, y in points
    )


def bar(kind: str, left: float, width: float, top: float, height: int) -> Markup | None:
    """A bar from the axis up to the share ``top``."""
    tall = height * top
    return tag(
        "rect",
        class_=kind,
        x=percent(left),
        width=percent(width),
        y=f"{height - tall:.1f}",
        height=f"{tall:.1f}",
    )


def tips(texts: Sequence[str], height: int) -> Markup:
    """An unseen column a value, which shows its text under the pointer."""
    width = 1 / len(texts) if texts else 1
    columns = [
        tag(
            "rect",
            tag("title", text),
            class_="tip",
            x=percent(index * width),
            width=percent(width),
            y=0,
            height=height,
        )
        for index, text in enumerate(texts)
    ]
    return tag("g", *columns, aria_hidden="true")  # a table on the page says it to all


def level(y: float, height: int, text: str) -> Markup:
    """A dashed line across the chart at a share of its height, with its text above."""
    at = height * (1 - y)
    return join(
        [
            tag("line", class_="level", x1="0", x2="100%", y1=f"{at:.1f}", y2=f"{at:.1f}"),
            tag("text", text, class_="note end", x="100%", y=f"{at:.1f}", dy="-.4em"),
        ]
    )


def divider(x: float, height: int, kind: str = "divider") -> Markup:
    """A line from bottom to top."""
    return tag("line", class_=kind, x1=percent(x), x2=percent(x), y1=0, y2=height)


def legend(entries: Sequence[tuple[Markup, str]]) -> Markup:
    """What is what, above a chart: (sample, text)."""
    return tag(
        "ul", *(tag("li", sample, text) for sample, text in entries), class_="legend", role="list"
    )


def sample_line(series: int) -> Markup:
    """A short piece of the line of a series with its marker."""
    return tag(
        "svg",
        tag("line", class_=f"line s{series}", x1=0, x2=28, y1=7, y2=7),
        tag("use", class_=f"mark s{series}", href=f"#mark{series}", x=14, y=7),
        class_="key",
        width=28,
        height=14,
        aria_hidden="true",
    )


def sample_bar(kind: str) -> Markup:
    """A small bar of this kind."""
    return tag(
        "svg",
        tag("rect", class_=kind, x=1, y=1, width=12, height=12),
        class_="key",
        width=14,
        height=14,
        aria_hidden="true",
    )


def marker_shapes() -> Markup:
    """The shapes that `marks` uses; once a page."""
    shapes = [
        tag("circle", id="mark1", r="3.2"),
        tag("rect", id="mark2", x="-3", y="-3", width="6", height="6"),
        tag("path", id="mark3", d="M0-4 4 3H-4Z"),
        tag("path", id="mark4", d="M0-4.4 4.4 0 0 4.4-4.4 0Z"),
    ]
    return tag("svg", tag("defs", *shapes), class_="shapes", width=0, height=0, aria_hidden="true")


def percent(share: float) -> str:
    """A share as the percentage that SVG takes."""
    return f"{100 * share:.2f}%"


def _stretched(drawing: Markup, height: int) -> Markup:
    return tag(
        "svg",
        drawing,
        viewBox=f"0 0 {WIDE} {height}",
        preserveAspectRatio="none",
        width="100%",
        height=height,
    )
