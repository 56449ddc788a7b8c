import re
from importlib import resources
from pathlib import Path

import pytest

from tensorpress.charts import (
    COLOURS,
    Axis,
    Bars,
    Chart,
    Choice,
    Lane,
    Level,
    Line,
    log_axis,
    round_axis,
    write_png,
)

HOSTILE = "$\\frac{1}{0}$\x00\x1b\ud800 " + "long " * 40


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def chart(*lines: Line, **parts: object) -> Chart:
    return Chart("", round_axis(0, 4), round_axis(0, 1), lines, **parts)  # type: ignore[arg-type]


def test_text_of_a_file_is_no_formula_and_does_not_widen_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    axis = Axis(0, 1, (0.5,), (HOSTILE,), HOSTILE)
    drawn = Chart(
        HOSTILE,
        axis,
        axis,
        [Line([(0, 0), (1, 1)], HOSTILE, filled_to=0.5)],
        [Bars([1.0], "before", HOSTILE, texts=["1"])],
        [Level(0.5, HOSTILE)],
        Choice(0.5, 0.5, HOSTILE),
        HOSTILE,
    )
    write_png(tmp_path / "a.png", [drawn], title=HOSTILE)
    write_png(tmp_path / "b.png", [chart(Line([(0, 0)], "short"))])
    assert size(tmp_path / "a.png") == size(tmp_path / "b.png")


def test_what_is_drawn_shows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = [(0.0, 0.1), (2.0, 0.6), (4.0, 0.9)]
    pictures = {
        "empty": chart(),
        "line": chart(Line(points)),
        "series": chart(Line(points, series=1)),
        "faint": chart(Line(points, is_faint=True)),
        "apart": chart(Line(points, is_joined=False)),
        "marker": chart(Line(points, marker=1)),
        "filled": chart(Line(points, filled_to=2)),
        "shade": chart(Line(points, shade=0.9)),
        "errors": chart(Line(points, errors=[0.1, 0.1, 0.1])),
        "bars": chart(bars=[Bars([0.5, 1.0], "after", "after")]),
        "bars of a series": chart(bars=[Bars([0.5, 1.0], "after", "after", series=3)]),
        "lanes": chart(lanes=[Lane("cp", [0, 1], 0), Lane("stays", [2], None)]),
        "level": chart(levels=[Level(0.5, "")]),
        "choice": chart(choice=Choice(2, 0.6, "")),
        "divider": chart(dividers=[2]),
        "log": Chart("", round_axis(0, 4), log_axis([0.1, 0.9]), [Line(points)]),
    }
    for name, drawn in pictures.items():
        write_png(tmp_path / name, [drawn])
    contents = {(tmp_path / name).read_bytes() for name in pictures}
    assert len(contents) == len(pictures)


def test_panels_stand_in_rows(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_png(tmp_path / "row.png", [chart()] * 4)
    write_png(tmp_path / "square.png", [chart()] * 4, columns=2)
    (wide, low), (narrow, high) = size(tmp_path / "row.png"), size(tmp_path / "square.png")
    assert wide > narrow
    assert high == 2 * low


def test_nothing_is_shaded_where_that_was_not_asked_for() -> None:
    points = [(0.0, 0.1), (2.0, 0.6), (4.0, 0.9)]
    assert not Line(points).filled
    assert Line(points, filled_to=2).filled == points[:2]


@pytest.mark.parametrize("count", [1, 39, 40, 41, 400])
def test_marks_are_few_enough_to_tell_lines_apart(count: int) -> None:
    line = Line([(float(n), 0.0) for n in range(count)])
    assert 1 <= len(line.points[:: line.stride]) <= 40
    assert count > 40 or line.stride == 1


def test_the_page_has_the_same_colours() -> None:
    style = resources.files("tensorpress.report").joinpath("style.css").read_text()
    light = re.findall(r":root \{(.*?)\}", style, re.S)[0]
    assert re.findall(r"--s\d: (#\w{6});", light) == list(COLOURS[:8])


def test_a_long_legend_beside_the_charts_has_every_name_once(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = [f"line {number}" for number in range(9)]
    many = chart(*(Line([(1, 0.1 * n)], name, n) for n, name in enumerate(names)))

    def drawn(*charts: Chart) -> bytes:
        write_png(tmp_path / "a.png", charts)
        return (tmp_path / "a.png").read_bytes()

    def few(name: str | None) -> Chart:
        return chart(Line([(2, 0.5)], name, 8))

    assert drawn(many, few(names[8])) == drawn(many, few(None))  # it is named beside them
    assert drawn(many, few("another")) != drawn(many, few(None))
    more = chart(*(Line([(1, 0.1)], f"more {number}") for number in range(7)))
    assert len({drawn(many, more), drawn(many, many), drawn(more, more)}) == 3
