"""The page: one HTML file that holds all it needs, laid out by the templates beside this file."""

import base64
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tensorpress.charts import Chart, Line, Points
from tensorpress.choices import INT8
from tensorpress.files import printable
from tensorpress.report import tables
from tensorpress.report.figures import (
    accuracy_figure,
    layer_figures,
    ranked_layers,
    spectrum_figures,
    training_figures,
)
from tensorpress.report.findings import Findings
from tensorpress.report.headline import cards, runtime_cards, verdict
from tensorpress.report.material import Material
from tensorpress.report.quantity import layer_name
from tensorpress.report.spectrum_chart import small_spectra
from tensorpress.report.times import Times
from tensorpress.version import VERSION

KINDS = {
    "run": "train, compress, fine-tune",
    "train": "training",
    "finetune": "fine-tuning",
    "compress": "compression",
    "file": "compressed network",
}
LAYERS = (
    ("forms", "Forms", "What each layer became, and why", ("forms",)),
    ("ranks", "Ranks", "Ranks along the network", ("ranks",)),
    ("loss", "Loss", "What each layer lost", ("loss",)),
    ("costs", "Parameters and MACs", "Where the parameters went", ("params", "macs")),
)
"""Sections by layer: anchor, name, heading, and their figures."""

COUNTED = (
    "No file here holds an account, so this one was counted for the report from the networks; "
    "why a layer stayed is not recorded."
)
NOT_RECORDED = "An account by layer is not recorded in this file, and could not be counted."
GENERATOR = "tensorpress report"
WIDE = 1000
"""Of the inner picture of a chart, whose lines are stretched to its width."""


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its name among the contents, its heading, what is in it."""

    key: str
    name: str
    heading: str
    template: str
    content: Mapping[str, object]


def build_page(material: Material, findings: Findings, opened: str | None = None) -> str:
    """The whole page as HTML; ``opened`` names the layer whose spectra are open at first."""
    style, script = _asset("style.css"), _asset("script.js")
    page = _templates().get_template("page.html.j2")
    text = page.render(
        title=material.network or material.path.name,
        eyebrow=["tensorpress report", KINDS[material.kind], *filter(None, [material.data])],
        lead=verdict(material, findings),
        unfinished=material.unfinished,
        cards=cards(material, findings),
        notes=findings.notes,
        sections=_sections(material, findings, opened),
        generator=GENERATOR,
        made_by=f"tensorpress {VERSION} with PyTorch {torch.__version__}",
        # Whatever a hostile file smuggled in, a browser would neither load nor run it.
        policy=f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}",
        style=Markup(style),
        script=Markup(script),
    )
    return printable(text)


def _sections(material: Material, findings: Findings, opened: str | None) -> list[Section]:
    by_layer = layer_figures(material, findings)
    found = []
    if accuracy := accuracy_figure(material):
        content = {"figure": accuracy, "said": _tuned(material)}
        found.append(Section("accuracy", "Accuracy", "Accuracy", "accuracy.html.j2", content))
    if curves := training_figures(material):
        training = {"figures": curves, "table": tables.epoch_table(material.epochs)}
        found.append(Section("training", "Training", "Training", "training.html.j2", training))
    for anchor, name, heading, keys in LAYERS:
        if keys[0] in by_layer:
            figures = {"figures": [by_layer[key] for key in keys]}
            found.append(Section(anchor, name, heading, "layers.html.j2", figures))
        if anchor == "loss" and findings.times and "times" in by_layer:
            heading = "How long it takes here"
            content = _times(material, findings.times) | {"figure": by_layer["times"]}
            found.append(Section("time", "Time", heading, "time.html.j2", content))
    if material.layers:
        spectra = _spectra(findings, opened) | {
            "asked": _asked(material, findings),
            "is_calibrated": material.is_calibrated,
        }
        heading = "Singular spectra of the layers"
        found.append(Section("spectra", "Spectra", heading, "spectra.html.j2", spectra))
    if findings.account or material.layers:
        heading = "The account, layer by layer"
        account = _account(material, findings)
        found.append(Section("account", "Account", heading, "account.html.j2", account))
    repeat = {
        "command": material.command,
        "made": material.versions
        and tables.facts_table("What made it.", ("Software", "Version"), material.versions),
        "asked": material.config
        and tables.facts_table("What was asked for.", ("Setting", "Value"), material.config),
    }
    return [*found, Section("repeat", "Repeat it", "Repeat it", "repeat.html.j2", repeat)]


def _tuned(material: Material) -> str:
    known = [score for score in (material.untuned, material.after) if score]
    if not material.before or len(known) < 2:
        return ""
    return (
        f"Compression took accuracy from {material.before.percent:.2f} % to "
        f"{known[0].percent:.2f} %; fine-tuning brought it to {known[-1].percent:.2f} %."
    )


def _times(material: Material, times: Times) -> dict[str, object]:
    model = material.model_file
    assert model is not None
    return {
        "cards": runtime_cards(times) if len(times.cells) > 1 else (),
        "in_int8": any(cell.precision == INT8 for cell in times.cells),
        "export": _export(model, times.batch),
    }


def _export(model: Path, batch: int) -> str:
    """The command that writes what was timed as planned."""
    words = ["tensorpress", "export", "--compressed", str(model)]
    return shlex.join([*words, "--planned", str(batch), "-o", "planned.pt2"])


def _spectra(findings: Findings, opened: str | None) -> dict[str, object]:
    layers = [layer for layer in findings.spectra.values() if layer.steps]
    names = [layer.name for layer in layers]
    truncated = {layer.truncated for layer in layers}
    name = "R{0} or unfolding {0}" if len(truncated) > 1 else "R{}"
    name = "unfolding {}" if truncated == {False} else name
    depth = max((len(layer.steps) for layer in layers), default=0)
    return {
        "small": [small_spectra(layer) for layer in layers],
        "key": [Line((), name.format(n + 1), n) for n in range(depth)],
        "bounded": [layer_name(layer.name) for layer in layers if not layer.truncated],
        "layers": layers,
        "chosen": opened if opened in names else next(iter(names), None),
        "figures": {layer.name: spectrum_figures(layer) for layer in layers},
        "tables": {layer.name: tables.spectra_table(layer) for layer in layers},
    }


def _asked(material: Material, findings: Findings) -> str:
    layers = [layer for layer in findings.spectra.values() if layer.truncated]
    steps = [step for layer in layers for step in layer.steps]
    if not steps:
        return ""
    if any(step.threshold is not None for step in steps):
        return "The dashed line is the share that the rank rule asked for."
    if material.request is not None and material.request.budget is not None:
        return "A budget was asked for; the threshold that was found for it is not recorded."
    return "No share of the energy was asked for, so no threshold is drawn."


def _account(material: Material, findings: Findings) -> dict[str, object]:
    account = findings.account
    if account is None:
        table = tables.rank_table(ranked_layers(material, findings))
        return {"note": NOT_RECORDED, "table": table}
    return {"note": account.counted and COUNTED, "table": tables.account_table(account)}


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("tensorpress.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent, across=_across, down=_down, path=_path, layer_name=layer_name
    )
    return environment


def _percent(share: float) -> str:
    """A share as the percentage that SVG takes."""
    return f"{100 * share:.2f}%"


def _across(x: float, chart: Chart) -> str:
    """Where ``x`` stands on a chart that fills whatever width it is given."""
    return _percent(chart.x.share(x))


def _down(y: float, chart: Chart) -> str:
    """How far below the top of a chart the value ``y`` stands, in pixels."""
    return f"{chart.height * (1 - min(chart.y.share(y), 1.0)):.1f}"


def _path(points: Points, chart: Chart) -> str:
    """Points in the inner picture of a chart."""
    return " ".join(f"{WIDE * chart.x.share(x):.1f},{_down(y, chart)}" for x, y in points)


def _asset(name: str) -> str:
    return resources.files("tensorpress.report").joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
