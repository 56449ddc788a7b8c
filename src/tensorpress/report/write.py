"""The report as files: the page, its numbers as CSV, and its figures as PNG."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path

from tensorpress.charts import Chart, can_plot, write_png
from tensorpress.errors import TensorpressError
from tensorpress.files import composed, printable, refuse_no_file, write_atomically, write_whole
from tensorpress.report.figures import (
    accuracy_figure,
    layer_figures,
    ranked_layers,
    spectrum_figures,
    training_figures,
)
from tensorpress.report.findings import Findings
from tensorpress.report.material import Material
from tensorpress.report.page import GENERATOR, build_page
from tensorpress.surgery import LayerRow
from tensorpress.training.curves import Epoch

PAGE, LAYERS, CURVES, SPECTRA = "index.html", "layers.csv", "curves.csv", "spectra.csv"
ACCURACY, TRAINING, STEPS = "accuracy.png", "curves.png", "spectra.png"
BY_LAYER = ("forms.png", "ranks.png", "loss.png", "times.png", "params.png", "macs.png")
FIGURES = (*BY_LAYER, ACCURACY, TRAINING, STEPS, "energy.png")
"""Of this version, and the last of an earlier one."""


def write_report(
    folder: Path, material: Material, findings: Findings, *, layer: str | None = None
) -> list[str]:
    """Write the report into ``folder`` and give the names of its files.

    ``layer`` is the one whose spectra are shown first; by default the largest that was decomposed.
    Figures need matplotlib; without it they are left out. Figures of an earlier report in the
    folder that this one does not have are removed.

    Raises:
        TensorpressError: no spectra of ``layer``, a page in the folder that is no report, or the
            folder cannot be written.
    """
    refuse_others(folder)
    opened = _opened(findings, layer)
    files = {PAGE: build_page(material, findings, opened), **_csv_files(material, findings)}
    for name, content in files.items():
        write_whole(folder / name, content)
    drawn = _drawings(material, findings, opened) if can_plot() else {}
    for name, charts in drawn.items():
        title = opened or "" if name == STEPS else ""
        write_atomically(folder / name, partial(write_png, charts=charts, title=title))
    for name in (LAYERS, CURVES, SPECTRA, *FIGURES):
        if name not in files and name not in drawn:
            (folder / name).unlink(missing_ok=True)
    return [*files, *drawn]


def refuse_unknown(material: Material, layer: str) -> None:
    """Raise for a layer that is none of those that were replaced, before spectra are computed.

    Raises:
        TensorpressError: it names some that are.
    """
    asked = composed(layer)
    known = [composed(name) for name in material.layers]
    if known and not any(asked == name or asked.startswith(f"{name}.") for name in known):
        raise _without_spectra(layer, [*material.layers])


def _without_spectra(layer: str, known: Sequence[str]) -> TensorpressError:
    named = ", ".join(known[:5])
    return TensorpressError(f"there are no spectra of a layer '{layer}'; there are: {named}.")


def _opened(findings: Findings, layer: str | None) -> str | None:
    if layer is not None:
        names = {composed(name): name for name in findings.spectra}
        layer = names.get(composed(layer), layer)
    if layer is not None and not findings.spectra:
        raise TensorpressError(
            f"there are no spectra of a layer '{layer}', nor of others: {' '.join(findings.notes)}"
        )
    if layer is not None and layer not in findings.spectra:
        raise _without_spectra(layer, [*findings.spectra])
    if layer is not None or not findings.spectra:
        return layer
    rows = findings.account.layers if findings.account else ()
    sizes = {row.name: row.params_before for row in rows if row.name in findings.spectra}
    return max(sizes, key=sizes.__getitem__) if sizes else next(iter(findings.spectra))


def _drawings(material: Material, findings: Findings, layer: str | None) -> dict[str, list[Chart]]:
    """The charts of each PNG; ``layer`` is the one whose spectra are drawn."""
    by_layer = layer_figures(material, findings)
    found = {f"{key}.png": [figure] for key, figure in by_layer.items()}
    accuracy = accuracy_figure(material)
    found[ACCURACY] = [accuracy] if accuracy else []
    found[TRAINING] = training_figures(material)
    found[STEPS] = spectrum_figures(findings.spectra[layer]) if layer is not None else []
    return {name: [figure.chart for figure in parts] for name, parts in found.items() if parts}


def _csv_files(material: Material, findings: Findings) -> dict[str, str]:
    files = {}
    if findings.account is not None:
        names = [field.name for field in fields(LayerRow)]
        files[LAYERS] = _csv(names, map(_layer_cells, findings.account.layers))
    elif ranked := ranked_layers(material, findings):
        rows = [(name, " ".join(map(str, ranks or ()))) for name, ranks in ranked]
        files[LAYERS] = _csv(["name", "ranks"], rows)
    if material.epochs:
        files[CURVES] = _csv([f.name for f in fields(Epoch)], map(astuple, material.epochs))
    steps = [
        (layer.name, number, rank, kept, rank == step.rank, step.threshold)
        for layer in findings.spectra.values()
        for number, step in enumerate(layer.steps, 1)
        for rank, kept in enumerate(step.kept, 1)
    ]
    if steps:
        head = ["layer", "step", "rank", "kept_energy", "taken", "threshold"]
        files[SPECTRA] = _csv(head, steps)
    return files


def _layer_cells(row: LayerRow) -> list[object]:
    cells = {field.name: getattr(row, field.name) for field in fields(row)}
    return list((cells | {"ranks": " ".join(map(str, row.ranks or ()))}).values())


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """None as an empty cell; floats in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(
        [printable(cell) if isinstance(cell, str) else cell for cell in row] for row in rows
    )
    return text.getvalue()


def refuse_others(folder: Path) -> None:
    """Raise where the report would take the place of something else in ``folder``.

    Raises:
        TensorpressError: a page that is no report, files of the names of its own without a page,
            or a folder with the name of one of them.
    """
    beside = (LAYERS, CURVES, SPECTRA, *FIGURES)
    for name in (PAGE, *beside):
        refuse_no_file(folder / name)
    page = folder / PAGE
    if not page.is_file():
        if others := [name for name in beside if (folder / name).exists()]:
            raise TensorpressError(
                f"{folder / others[0]} is of something else, as there is no {PAGE} beside it: "
                "choose another folder."
            )
        return
    with page.open("rb") as file:
        if GENERATOR.encode() not in file.read(2000):
            raise TensorpressError(f"{page} is a page of something else: choose another folder.")
