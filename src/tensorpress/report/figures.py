"""The charts of the page with what they show in words; the PNGs draw the same."""

from dataclasses import dataclass

from tensorpress.charts import Chart
from tensorpress.report.accuracy_chart import accuracy_chart, with_baseline
from tensorpress.report.cost_chart import cost_chart, cost_finding
from tensorpress.report.findings import Findings
from tensorpress.report.form_charts import (
    form_chart,
    loss_chart,
    loss_finding,
    time_chart,
    time_finding,
)
from tensorpress.report.forms import forms_of, why
from tensorpress.report.material import Material
from tensorpress.report.rank_chart import Ranked, rank_chart, rank_finding
from tensorpress.report.spectra import LayerSpectra
from tensorpress.report.spectrum_chart import spectrum_chart
from tensorpress.training.curves import curve_charts
from tensorpress.training.run_folder import CONTROL, FINETUNE

OF_OUTPUTS = "of what the layer gives for the images that it was calibrated on"
OF_KERNELS = "of the energy of the layer's kernel"


@dataclass(frozen=True)
class Figure:
    """A chart below its heading, which may be empty, and a sentence on it."""

    chart: Chart
    heading: str = ""
    finding: str = ""


def accuracy_figure(material: Material) -> Figure | None:
    """The accuracies beside each other; None where there is nothing to compare."""
    chart = accuracy_chart(material)
    words = "Whiskers are one standard error; the scale does not begin at 0."
    if material.control is not None:
        words += " The control is the dense network, trained on for as long as the compressed one."
    return None if chart is None else Figure(chart, finding=words)


def training_figures(material: Material) -> list[Figure]:
    """Accuracy and loss over the epochs."""
    began = {
        FINETUNE: material.untuned.percent if material.untuned else None,
        CONTROL: material.before.percent if material.before else None,
    }
    words = {
        "accuracy, %": "On test images, with one standard error; on training images faint.",
        "training loss": "With a teacher it is another loss.",
    }
    charts = [
        with_baseline(chart, material.before) if "accuracy" in chart.y.name else chart
        for chart in curve_charts(material.epochs, began)
    ]
    return [Figure(chart, chart.y.name.capitalize(), words[chart.y.name]) for chart in charts]


def layer_figures(material: Material, findings: Findings) -> dict[str, Figure]:
    """What is known by layer, those that there are.

    These are "forms", "ranks", "loss", "times", "params" and "macs".
    """
    rows = findings.account.layers if findings.account else ()
    forms, ranked = forms_of(rows), ranked_layers(material, findings)
    treated = [form for form in forms if form.series is not None]
    found = {}
    precision = findings.account.precision if findings.account else None
    if treated or precision is not None:
        reasons = why(rows, material.request, precision)
        found["forms"] = Figure(form_chart(rows, forms), finding=reasons)
    if ranked:
        chart = rank_chart(ranked, findings.full_ranks, forms)
        found["ranks"] = Figure(chart, finding=rank_finding(ranked, findings.full_ranks))
    if any(row.kept_energy is not None for row in rows):
        of = OF_OUTPUTS if material.is_calibrated else OF_KERNELS
        words = f"The share {of} that is lost. {loss_finding(rows)}"
        found["loss"] = Figure(loss_chart(rows, forms, of), finding=words)
    timed = findings.times.by_layer if findings.times else {}
    if timed and treated:
        chart = time_chart(rows, forms, timed)
        found["times"] = Figure(chart, "Milliseconds by layer", time_finding(timed))
    for key, name in (("params", "Parameters"), ("macs", "MACs")) if rows else ():
        found[key] = Figure(cost_chart(rows, key), f"{name} by layer", cost_finding(rows, key))
    return found


def spectrum_figures(layer: LayerSpectra) -> list[Figure]:
    """A figure for each step of the decomposition of a layer."""
    return [
        Figure(
            spectrum_chart(step, number, truncated=layer.truncated),
            f"Step {number}, R{number} = {step.rank} of {len(step.kept)}"
            if layer.truncated
            else f"Unfolding {number}: {len(step.kept)} singular values",
        )
        for number, step in enumerate(layer.steps, 1)
    ]


def ranked_layers(material: Material, findings: Findings) -> Ranked:
    """Name and ranks of every layer of the account, or of the factorized ones alone."""
    if findings.account is not None:
        rows = [(row.name, row.ranks) for row in findings.account.layers]
        return rows if any(ranks for _, ranks in rows) else []
    return [(name, entry.ranks) for name, entry in material.layers.items()]
