"""The page: one HTML file that holds all it needs."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import torch

from tensorpress.report import plot, tables
from tensorpress.report.command import Command
from tensorpress.report.curve_charts import accuracy_chart, curves_of, loss_chart
from tensorpress.report.findings import Findings
from tensorpress.report.headline import cards, verdict
from tensorpress.report.layer_charts import (
    Ranked,
    cost_chart,
    cost_finding,
    energy_chart,
    energy_finding,
    rank_chart,
    rank_finding,
)
from tensorpress.report.markup import Markup, tag
from tensorpress.report.material import Material
from tensorpress.report.quantity import layer_name
from tensorpress.report.spectra import LayerSpectra
from tensorpress.report.spectrum_chart import spectrum_chart
from tensorpress.version import VERSION

KINDS = {
    "run": "train, compress, fine-tune",
    "train": "training",
    "finetune": "fine-tuning",
    "compress": "compression",
    "file": "compressed network",
}
GENERATOR = "tensorpress report"
COUNTED = (
    "No file here holds an account, so this one was counted for the report from the networks; "
    "why a layer stayed is not recorded."
)
NOT_RECORDED = "An account by layer is not recorded in this file, and could not be counted."


def build_page(material: Material, findings: Findings, opened: str | None = None) -> str:
    """The whole page as HTML; ``opened`` names the layer whose spectra are open at first."""
    sections = [
        section
        for section in (
            _training(material),
            *_layers(material, findings),
            _spectra(material, findings, opened),
            _account(material, findings),
            _repeat(material),
        )
        if section is not None
    ]
    title = material.network or material.path.name
    head = tag(
        "header",
        tag("p", " · ".join(_eyebrow(material)), class_="eyebrow"),
        tag("h1", title),
        verdict(material, findings),
        *(tag("p", text, class_="notice") for text in _notices(material)),
    )
    links = [tag("li", tag("a", part.name, href=f"#{part.key}")) for part in sections]
    body = [
        tag("a", "Skip to the numbers", class_="skip", href="#main"),
        plot.marker_shapes(),
        head,
        tag("nav", tag("ul", *links, role="list"), aria_label="Contents"),
        tag(
            "main",
            tag(
                "section",
                tag("h2", "At a glance", id="h-glance", class_="unseen"),
                cards(material, findings),
                *(tag("p", note, class_="aside") for note in findings.notes),
                id="glance",
                aria_labelledby="h-glance",
            ),
            *(section.drawn() for section in sections),
            id="main",
        ),
        tag(
            "footer",
            tag("p", f"Written by tensorpress {VERSION} with PyTorch {torch.__version__}."),
        ),
    ]
    script = _asset("script.js")
    return "<!doctype html>\n" + tag(
        "html",
        _head(title, script),
        tag("body", *body, tag("script", Markup(script))),
        lang="en",
    )


def _head(title: str, script: str) -> Markup:
    style = _asset("style.css")
    policy = f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        # Whatever a hostile file smuggled in, a browser would neither load nor run it.
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=GENERATOR),
        tag("title", f"{title} - tensorpress report"),
        tag("style", Markup(style)),
    )


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its name among the contents, its heading, what is in it."""

    key: str
    name: str
    heading: str
    content: Sequence[Markup | None]

    def drawn(self) -> Markup:
        heading = tag("h2", self.heading, id=f"h-{self.key}")
        return tag("section", heading, *self.content, id=self.key, aria_labelledby=f"h-{self.key}")


def _eyebrow(material: Material) -> list[str]:
    words = ["tensorpress report", KINDS[material.kind]]
    return [*words, material.data] if material.data else words


def _notices(material: Material) -> list[str]:
    if material.unfinished is None:
        return []
    return [f"This run is not finished. {material.unfinished} What there is so far is below."]


def _training(material: Material) -> Section | None:
    curves = curves_of(material)
    if not curves:
        return None
    loss = loss_chart(curves)
    accuracy = accuracy_chart(curves)
    known = [score for score in (material.untuned, material.after) if score]
    said = (
        f"Compression took accuracy from {material.before.percent:.2f} % to "
        f"{known[0].percent:.2f} %; fine-tuning brought it to {known[-1].percent:.2f} %."
        if material.before and len(known) == 2
        else None
    )
    return Section(
        "training",
        "Training",
        "Training",
        [
            tag("p", said, class_="finding") if said else None,
            tag(
                "div",
                _figure("Accuracy, %", "On test images; on training images faint.", accuracy),
                _figure("Training loss", "With a teacher it is another loss.", loss),
                class_="pair",
            ),
            _folded("All epochs as a table", tables.epoch_table(material.epochs)),
        ],
    )


def _layers(material: Material, findings: Findings) -> list[Section]:
    account = findings.account
    ranked = ranked_layers(material, findings)
    sections: list[Section] = []
    link = tag("a", "the account", href="#account")
    below = tag("p", "The numbers are in ", link, ".", class_="aside")
    if ranked:
        chart = _figure(None, rank_finding(ranked), rank_chart(ranked))
        sections.append(Section("ranks", "Ranks", "Ranks along the network", [chart, below]))
    if account is not None and any(row.kept_energy is not None for row in account.layers):
        chart = _figure(None, energy_finding(account.layers), energy_chart(account.layers))
        sections.append(Section("energy", "Kept energy", "What each layer kept", [chart, below]))
    if account is not None and account.layers:
        charts = [
            _figure(name, cost_finding(account.layers, what), cost_chart(account.layers, what))
            for name, what in (("Parameters by layer", "params"), ("MACs by layer", "macs"))
        ]
        heading = "Where the parameters went"
        sections.append(Section("costs", "Parameters and MACs", heading, [*charts, below]))
    return sections


def ranked_layers(material: Material, findings: Findings) -> Ranked:
    """Name and ranks of every layer of the account, or of the factorized ones alone."""
    if findings.account is not None:
        rows = [(row.name, row.ranks) for row in findings.account.layers]
        return rows if any(ranks for _, ranks in rows) else []
    return [(name, entry.ranks) for name, entry in material.layers.items()]


def _spectra(material: Material, findings: Findings, opened: str | None) -> Section | None:
    if not material.layers:
        return None
    names = ("spectra", "Spectra", "Singular spectra of a layer")
    found = {name: layer for name, layer in findings.spectra.items() if layer.steps}
    if not found:
        why = "There are none on this page: see the notes at the top."
        return Section(*names, [tag("p", why, class_="aside")])
    chosen = opened if opened in found else next(iter(found))
    explained = (
        "The share of a kernel's energy (squared singular values) that each rank would keep, at "
        "every step of the decomposition. The dot is the rank that was taken."
    )
    return Section(
        *names,
        [
            tag("p", f"{explained} {_asked(material, findings)}"),
            _picker(list(found), chosen),
            *(_spectrum(layer, layer.name == chosen) for layer in found.values()),
        ],
    )


def _asked(material: Material, findings: Findings) -> str:
    steps = [step for layer in findings.spectra.values() for step in layer.steps]
    if any(step.threshold is not None for step in steps):
        return "The dashed line is the share that the rank rule asked for."
    if material.request is not None and material.request.budget is not None:
        return "A budget was asked for; the threshold that was found for it is not recorded."
    return "No share of the energy was asked for, so no threshold is drawn."


def _picker(names: list[str], chosen: str) -> Markup:
    """A list to choose from, for browsers with JavaScript; without, the layers fold open."""
    options = [tag("option", layer_name(name), selected=name == chosen) for name in names]
    return tag(
        "form",
        tag("label", "Layer ", tag("select", *options, id="pick-layer"), for_="pick-layer"),
        tag("button", "Previous", type="button", id="pick-previous"),
        tag("button", "Next", type="button", id="pick-next"),
        id="pick",
        hidden=True,
    )


def _spectrum(layer: LayerSpectra, is_open: bool) -> Markup:
    ranks = " ".join(str(step.rank) for step in layer.steps)
    figures = [
        tag(
            "figure",
            tag("figcaption", f"Step {number}, R{number} = {step.rank} of {len(step.kept)}"),
            spectrum_chart(step, number),
        )
        for number, step in enumerate(layer.steps, 1)
    ]
    return tag(
        "details",
        tag(
            "summary",
            tag("b", layer_name(layer.name)),
            f" ranks {ranks}, keeps {layer.kept_energy:.3f}, error {layer.relative_error:.3f}",
        ),
        tag("div", *figures, class_="steps"),
        tables.spectra_table(layer),
        name="spectra",
        open=is_open,
    )


def _account(material: Material, findings: Findings) -> Section | None:
    account = findings.account
    if account is None and not material.layers:
        return None
    names = ("account", "Account", "The account, layer by layer")
    if account is None:
        missing = tag("p", NOT_RECORDED, class_="aside")
        table = tables.rank_table(ranked_layers(material, findings))
        return Section(*names, [missing, table])
    note = tag("p", COUNTED, class_="aside") if account.counted else None
    return Section(*names, [note, tables.account_table(account)])


def _repeat(material: Material) -> Section:
    command = material.command
    asked: Mapping[str, object] = material.config
    made: Mapping[str, object] = material.versions
    return Section(
        "repeat",
        "Repeat it",
        "Repeat it",
        [
            *(_command(command) if command else [tag("p", "No command line is recorded.")]),
            tables.facts_table("What made it.", ("Software", "Version"), made) if made else None,
            _folded(
                "All settings",
                tables.facts_table("What was asked for.", ("Setting", "Value"), asked),
            )
            if asked
            else None,
        ],
    )


def _command(command: Command) -> list[Markup]:
    said = (
        "The command as it was given:"
        if command.recorded
        else "The command line is not recorded; this one asks for the same settings:"
    )
    box = tag("pre", tag("code", command.text), tabindex=0, role="region", aria_label="Command")
    notes = [tag("li", caveat) for caveat in command.caveats]
    return [tag("p", said), box, *([tag("ul", *notes)] if notes else [])]


def _figure(name: str | None, finding: str, chart: Markup | None) -> Markup | None:
    if chart is None:
        return None
    heading = tag("h3", name) if name else None
    caption = tag("figcaption", heading, tag("p", finding, class_="finding"))
    return tag("figure", caption, chart)


def _folded(name: str, content: Markup) -> Markup:
    return tag("details", tag("summary", name), content)


def _asset(name: str) -> str:
    return resources.files("tensorpress.report").joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
