"""A benchmark as a picture."""

from pathlib import Path

from tensorpress.charts import Axis, Bars, Chart, Level, round_axis, write_png
from tensorpress.deploy.benchmark import Benchmark


def plot_benchmark(found: Benchmark, path: Path) -> None:
    """Draw each cell's speed, as stored and as planned, over that of the dense network, as PNG."""
    cells = found.cells
    bars = []
    for shift, name, kind in ((-0.2, "stored", "before"), (0.2, "planned", "after")):
        speeds = [cell.baseline.median / getattr(cell, name).median for cell in cells]
        texts = [f"{speed:.2f}" for speed in speeds]
        bars.append(Bars(speeds, kind, f"as {name}", 0.4, shift, texts))
    names = tuple(f"{c.runtime} {c.precision}\nbatch {c.batch}\n{c.threads} thr." for c in cells)
    highest = max((*bars[0].values, *bars[1].values, 1.0))
    chart = Chart(
        "Speed of the compressed network over the dense one",
        Axis(-0.5, len(cells) - 0.5, tuple(range(len(cells))), names),
        round_axis(0, 1.05 * highest, "speed over the dense network"),
        bars=bars,
        levels=[Level(1.0, "")],
    )
    write_png(path, [chart])
