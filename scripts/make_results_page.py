"""Put the rows of docs/results.json into docs/results.md, and draw docs/results.png.

python scripts/make_results_page.py [RUN/results.json...] adds the rows of finished runs first. The
table stands between two marks; the plot is dAcc against PCR, calibrated and fine-tuned.
"""

import sys
from pathlib import Path

from marked_page import DOCS, put

from tensorpress.charts import Chart, Line, round_axis, write_png
from tensorpress.experiments import Result, markdown, read_results, write_results

PAPER = (3.93, -0.50)
"""PCR and dAcc of ResNet-56 on CIFAR-100 in Table 4."""


def main() -> None:
    rows = read_results(DOCS / "results.json")
    for path in map(Path, sys.argv[1:]):
        assert path.is_file(), f"there is no file {path}"
        rows += [row for row in read_results(path) if row not in rows]
    write_results(DOCS / "results.json", rows)
    put("results.md", "rows", f"\n{markdown(rows)}\n")
    plot(rows)


def plot(rows: list[Result]) -> None:
    lines: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows:
        if "calibrated" in row.method and row.network.startswith("resnet"):
            label = f"{row.network}, {row.epochs} epochs, {row.method.rsplit(', ', 1)[1]}"
            lines.setdefault(label, []).append((row.pcr, row.worse_dacc, row.stderr))
    drawn: list[Line] = []
    for label, found in lines.items():
        pcr, dacc, error = zip(*sorted(found), strict=True)
        points = list(zip(pcr, dacc, strict=True))
        drawn.append(Line(points, label, len(drawn), dashes=0, errors=error))
    drawn.append(Line([PAPER], "printed: resnet56, 200 epochs, CIFAR-100", len(drawn)))
    pcr, dacc = zip(*(point for line in drawn for point in line.points), strict=True)
    chart = Chart(
        "dAcc against PCR",
        round_axis(min(pcr), max(pcr), "PCR"),
        round_axis(min(dacc), max(0.0, *dacc), "dAcc, points (the worse of the two)"),
        drawn,
    )
    write_png(DOCS / "results.png", [chart])


if __name__ == "__main__":
    main()
