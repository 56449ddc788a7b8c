"""``tensorpress report``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorpress import report as pages
from tensorpress.charts import can_plot
from tensorpress.cli import options
from tensorpress.cli.inputs import (
    read_calibration,
    read_compressed_inputs,
    read_inputs,
    refuse_without_weights,
)
from tensorpress.cli.output import output_folder
from tensorpress.cli.printer import Printer
from tensorpress.deploy.int8.calibration import MOST
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file
from tensorpress.report import Findings, Material
from tensorpress.report.findings import NO_WEIGHTS
from tensorpress.report.write import PAGE

ASKED_FOR = ("net", "input_shape", "input_dtype", "calibrate")
"""What must work where it is given; what only the files name may be out of reach."""


def report(
    *,
    run: Path,
    net: str | None,
    trained: options.Trained,
    input_shape: str | None,
    input_dtype: str | None,
    classes: int | None,
    layer: str | None,
    batch: int,
    timed: bool,
    calibrate: str | None,
    output: Path | None,
    printer: Printer,
) -> None:
    if calibrate is not None and not timed:
        raise TensorpressError("--calibrate is for the time in int8: leave --no-time out.")
    material = pages.read_material(run)
    if layer is not None:
        pages.refuse_unknown(material, layer)
    folder = output or _beside(run)
    with output_folder(folder):
        pages.refuse_others(folder)  # before what takes long
        named: dict[str, Any] = {"net": net, "classes": classes, "calibrate": calibrate}
        named |= {"input_shape": input_shape, "input_dtype": input_dtype}
        findings = _findings(material, trained, named, batch, timed, layer)
        files = pages.write_report(folder, material, findings, layer=layer)
    for note in findings.notes:
        printer.note(note)
    if not can_plot():
        printer.note("PNGs were left out: matplotlib is not installed (pip install matplotlib).")
    printer.values({"files": [str(folder / name) for name in files], "notes": [*findings.notes]})
    printer.written(folder / PAGE, beside=files[1:])


def _beside(run: Path) -> Path:
    return run / "report" if run.is_dir() else run.with_name(f"{run.stem}-report")


def _findings(
    material: Material,
    trained: options.Trained,
    asked: Mapping[str, Any],
    batch: int,
    timed: bool,
    layer: str | None,
) -> Findings:
    """What the networks tell, as far as they can be built; ``asked`` is what names them."""
    refuse_without_weights(trained)
    if material.model_file is None:
        return pages.known_without_networks(material, "There is no model.tp yet.")
    try:
        named: dict[str, Any] = {**asked, "data": None, "mean": None, "std": None}
        if is_graph_file(material.model_file):
            shape = ",".join(map(str, material.input_shape or ())) or None
            named["net"] = asked["net"] or material.network
            named["input_shape"] = asked["input_shape"] or shape
            inputs = read_inputs(**named)
        else:
            inputs = read_compressed_inputs(material.model_file, **named)
        known = options.Trained(material.dense_weights)
        network = inputs.as_network(trained if trained.weights else known)
        if layer is not None and material.layers and not network.is_trained:
            raise TensorpressError(f"--layer {layer}: {NO_WEIGHTS}")
        return pages.examine(
            material,
            network,
            inputs.shape,
            dtype=inputs.dtype,
            batch=batch,
            machine=machine("cpu"),
            timed=timed,
            calibration=read_calibration(asked["calibrate"], MOST, inputs),
        )
    except TensorpressError as error:
        given = (trained.weights, layer, *(asked[name] for name in ASKED_FOR))
        if any(value is not None for value in given):
            raise
        return pages.known_without_networks(material, str(error))
