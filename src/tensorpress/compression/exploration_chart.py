"""An exploration as a picture."""

from pathlib import Path

from tensorpress.charts import Axis, Chart, Line, Points, log_axis, round_axis, write_png
from tensorpress.compression.explore import Exploration


def plot_exploration(found: Exploration, path: Path) -> None:
    """Draw the layers' losses over their parameters, and the network over its ratios, as a PNG."""
    last = max(len(found.layers) - 1, 1)
    layers = [
        Line(
            sorted((o.params / layer.options[0].params, o.loss) for o in layer.options[1:]),
            is_marked=False,
            dashes=0,
            shade=number / last,
        )
        for number, layer in enumerate(found.layers)
    ]
    points = [point for line in layers for point in line.points]
    charts = [
        Chart(
            "What each layer loses at which size",
            log_axis((x for x, _ in points), "share of the layer's parameters"),
            log_axis((y for _, y in points), "divergence with it alone decomposed"),
            layers,
            title=f"{len(found.layers)} layers, first (dark) to last (light)",
        )
    ]
    loss = [(point.pcr, point.loss) for point in found.points]
    scored = (*([found.original] if found.original else []), *found.points)
    score = [(point.pcr, point.score) for point in scored if point.score is not None]
    if loss:
        y = log_axis((y for _, y in loss), "sum of the layers' divergences")
        charts.append(_network(loss, y))
    if score:
        y = round_axis(min(s for _, s in score), max(s for _, s in score), "score")
        charts.append(_network(score, y))
    write_png(path, charts, size=(11.0, 4.5))


def _network(points: Points, y: Axis) -> Chart:
    x = round_axis(points[0][0], points[-1][0], "PCR and FCR")
    return Chart(f"The network: {y.name}", x, y, [Line(points)], title="the network")
