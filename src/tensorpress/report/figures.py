"""The figures of the page as PNG, for papers and slides; matplotlib draws them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorpress.report.curve_charts import curves_of
from tensorpress.report.findings import Findings
from tensorpress.report.layer_charts import Ranked
from tensorpress.report.markup import printable
from tensorpress.report.material import Material
from tensorpress.report.page import ranked_layers
from tensorpress.report.scale import layer_ticks
from tensorpress.report.spectra import LayerSpectra
from tensorpress.surgery import LayerRow

RANKS, ENERGY, PARAMS, MACS = "ranks.png", "energy.png", "params.png", "macs.png"
TRAINING, STEPS = "curves.png", "spectra.png"
FIGURES = (RANKS, ENERGY, PARAMS, MACS, TRAINING, STEPS)
STYLES = ("o-", "s--", "^:", "D-.")
"""The markers and dashes of the page's series."""

LONGEST_LABEL = 40
Save = Callable[[Path], None]


def draw_figures(
    material: Material, findings: Findings, layer: str | None
) -> Iterator[tuple[str, Save]]:
    """The name of each figure, and what writes it; ``layer`` is the one whose spectra are drawn."""
    rows = findings.account.layers if findings.account else ()
    ranked = ranked_layers(material, findings)
    if ranked:
        yield RANKS, _ranks(ranked)
    if any(row.kept_energy is not None for row in rows):
        yield ENERGY, _energy(rows)
    if rows:
        yield PARAMS, _costs(rows, "params", "parameters")
        yield MACS, _costs(rows, "macs", "multiply-accumulates")
    if material.epochs:
        yield TRAINING, _training(material)
    if layer is not None and findings.spectra[layer].steps:
        yield STEPS, _spectra(findings.spectra[layer])


def _ranks(layers: Ranked) -> Save:
    figure, (axes,) = _figure(1)
    for n in range(max(len(ranks or ()) for _, ranks in layers)):
        known = [(i, r[n]) for i, (_, r) in enumerate(layers) if r and len(r) > n]
        axes.plot(*zip(*known, strict=True), STYLES[n % len(STYLES)], label=f"R{n + 1}")
    axes.set(ylabel="rank", ylim=(0, None))
    return _by_layer(figure, axes, [name for name, _ in layers])


def _energy(rows: Sequence[LayerRow]) -> Save:
    figure, (axes,) = _figure(1)
    for style, key in zip(STYLES, ("kept_energy", "relative_error"), strict=False):
        known = [(i, getattr(row, key)) for i, row in enumerate(rows)]
        known = [(i, value) for i, value in known if value is not None]
        if known:
            axes.plot(*zip(*known, strict=True), style, label=key.replace("_", " "))
    axes.set(ylabel="share of the kernel", ylim=(0, None))
    return _by_layer(figure, axes, [row.name for row in rows])


def _costs(rows: Sequence[LayerRow], what: str, unit: str) -> Save:
    figure, (axes,) = _figure(1)
    at = range(len(rows))
    before, after = ([getattr(row, f"{what}_{when}") for row in rows] for when in _WHEN)
    axes.bar(at, before, 0.8, color="0.85", edgecolor="0.5", label="before")
    axes.bar(at, after, 0.56, color="C0", label="after")
    axes.set(ylabel=unit)
    return _by_layer(figure, axes, [row.name for row in rows])


def _training(material: Material) -> Save:
    figure, (accuracy, loss) = _figure(2)
    for curve in curves_of(material):
        colour, style = f"C{curve.series - 1}", STYLES[curve.series - 1]
        for axes, key, look, label in (
            (accuracy, "test_acc", style, _plain(curve.name)),
            (accuracy, "train_acc", ":", None),
            (loss, "loss", style, _plain(curve.name)),
        ):
            points = curve.points(key, from_start=key == "test_acc")
            if points:
                faint = 0.5 if key == "train_acc" else 1.0
                lines = zip(*points, strict=True)
                axes.plot(*lines, look, color=colour, alpha=faint, label=label)
    accuracy.set(xlabel="epoch", ylabel="accuracy on test images (training: faint), %")
    loss.set(xlabel="epoch", ylabel="training loss")
    for axes in (accuracy, loss):
        axes.xaxis.get_major_locator().set_params(integer=True)
    return _finished(figure, accuracy, loss)


def _spectra(layer: LayerSpectra) -> Save:
    figure, all_axes = _figure(len(layer.steps))
    for number, (axes, step) in enumerate(zip(all_axes, layer.steps, strict=True), 1):
        axes.plot(range(1, len(step.kept) + 1), step.kept, "-", label="kept energy")
        taken = step.kept[step.rank - 1]
        axes.plot([step.rank], [taken], "o", color="C0", label=f"R{number} = {step.rank}")
        axes.axvline(step.rank, color="C0", linestyle=":")
        if step.threshold is not None:
            label = f"threshold {step.threshold:.3g}"
            axes.axhline(step.threshold, color="C3", linestyle="--", label=label)
        axes.set(xlabel=f"rank of step {number}", ylim=(0, 1.02))
    all_axes[0].set(ylabel="kept share of the energy")
    figure.suptitle(_plain(layer.name))
    return _finished(figure, *all_axes)


_WHEN = ("before", "after")


def _figure(columns: int) -> tuple[Any, Sequence[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(9, 4 * columns), 4), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def _by_layer(figure: Any, axes: Any, names: Sequence[str]) -> Save:
    ticks = layer_ticks(names)
    places = [place * len(names) - 0.5 for place, _ in ticks]
    axes.set_xticks(places, [_plain(text) for _, text in ticks])
    axes.set(xlim=(-0.5, len(names) - 0.5))
    return _finished(figure, axes)


def _finished(figure: Any, *all_axes: Any) -> Save:
    for axes in all_axes:
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()
    return lambda path: figure.savefig(path, format="png", dpi=120)


def _plain(text: str) -> str:
    """Text of a sensible length without matplotlib's formulas: a dollar would start one."""
    return printable(text)[:LONGEST_LABEL].replace("$", r"\$")
