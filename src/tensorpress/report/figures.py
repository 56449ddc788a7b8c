"""The charts of the page with what they show in words; the PNGs draw the same."""

from dataclasses import dataclass

from tensorpress.charts import Chart
from tensorpress.report.findings import Findings
from tensorpress.report.layer_charts import (
    Ranked,
    cost_chart,
    cost_finding,
    energy_chart,
    energy_finding,
    rank_chart,
    rank_finding,
)
from tensorpress.report.material import Material
from tensorpress.report.spectra import LayerSpectra
from tensorpress.report.spectrum_chart import spectrum_chart
from tensorpress.training.curves import curve_charts
from tensorpress.training.run_folder import CONTROL, FINETUNE


@dataclass(frozen=True)
class Figure:
    """A chart below its heading, which may be empty, and a sentence on it."""

    chart: Chart
    heading: str = ""
    finding: str = ""


def training_figures(material: Material) -> list[Figure]:
    """Accuracy and loss over the epochs."""
    began = {
        FINETUNE: material.untuned.percent if material.untuned else None,
        CONTROL: material.before.percent if material.before else None,
    }
    words = {
        "accuracy, %": "On test images; on training images faint.",
        "training loss": "With a teacher it is another loss.",
    }
    return [
        Figure(chart, chart.y.name.capitalize(), words[chart.y.name])
        for chart in curve_charts(material.epochs, began)
    ]


def layer_figures(material: Material, findings: Findings) -> dict[str, Figure]:
    """What is known by layer: "ranks", "energy", "params" and "macs", those that there are."""
    rows = findings.account.layers if findings.account else ()
    ranked = ranked_layers(material, findings)
    found = {}
    if ranked:
        found["ranks"] = Figure(rank_chart(ranked), finding=rank_finding(ranked))
    if any(row.kept_energy is not None for row in rows):
        found["energy"] = Figure(energy_chart(rows), finding=energy_finding(rows))
    for key, name in (("params", "Parameters"), ("macs", "MACs")) if rows else ():
        found[key] = Figure(cost_chart(rows, key), f"{name} by layer", cost_finding(rows, key))
    return found


def spectrum_figures(layer: LayerSpectra) -> list[Figure]:
    """A figure for each step of the decomposition of a layer."""
    return [
        Figure(
            spectrum_chart(step, number),
            f"Step {number}, R{number} = {step.rank} of {len(step.kept)}",
        )
        for number, step in enumerate(layer.steps, 1)
    ]


def ranked_layers(material: Material, findings: Findings) -> Ranked:
    """Name and ranks of every layer of the account, or of the factorized ones alone."""
    if findings.account is not None:
        rows = [(row.name, row.ranks) for row in findings.account.layers]
        return rows if any(ranks for _, ranks in rows) else []
    return [(name, entry.ranks) for name, entry in material.layers.items()]
