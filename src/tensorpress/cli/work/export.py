"""``tensorpress export``."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tensorpress import deploy
from tensorpress.choices import INT8
from tensorpress.cli import options
from tensorpress.cli.inputs import Inputs, read_calibration, read_network, warn_if_as_made
from tensorpress.cli.printer import Printer
from tensorpress.data import normalise
from tensorpress.deploy.int8.calibration import MOST
from tensorpress.errors import TensorpressError

IMAGES = 64


def export(
    *,
    net: str | None,
    trained: options.Trained,
    compressed: Path | None,
    file_format: str | None,
    batch: int | None,
    planned: int | None,
    as_stored: bool,
    precision: str,
    calibrate: str | None,
    min_agreement: float | None,
    keep_float: list[str] | None,
    images: options.DataOptions,
    input_dtype: str | None,
    output: Path | None,
    dry_run: bool,
    printer: Printer,
) -> None:
    path = _place(output, file_format)
    if (precision, calibrate is None) in ((INT8, True), ("f32", False)):
        raise TensorpressError(
            "--precision int8 and --calibrate go together: the ranges of values are read off "
            "images without labels."
        )
    if as_stored and planned is not None:
        raise TensorpressError("--as-stored and --planned exclude each other: give one of them.")
    named: dict[str, Any] = {"net": net, "calibrate": calibrate, "tests_alone": True}
    named |= {**images.given(), "input_dtype": input_dtype}
    inputs, network = read_network(compressed, trained, **named)
    example = inputs.example(batch or planned or 1)
    calibration = read_calibration(calibrate, MOST, inputs)
    how: dict[str, Any] = {
        "format": file_format,
        "dynamic_batch": batch is None,
        "check_inputs": _images(inputs, batch),
        "precision": precision,
        "min_agreement": min_agreement,
        "keep_float": keep_float or (),
        "planned": False if as_stored else True if planned else None,
    }
    if dry_run:
        calibrated = calibration is not None
        ready = deploy.read_exportable(network, path, example, calibrated=calibrated, **how)
        printer.foreseen(deploy.foresee_export(ready), [path])
        return
    report = deploy.export(network, path, example, calibration=calibration, **how)
    if report.plan is not None:
        printer.result(f"{report.plan}\n")
    printer.result(str(report))
    printer.values(report.to_dict())
    if compressed is None:
        warn_if_as_made(inputs, trained, printer)
    printer.written(report.path)


def _place(output: Path | None, file_format: str | None) -> Path:
    """The file to write, for -o a file or a folder."""
    if output is None:
        raise TensorpressError("-o is missing: give a file, such as model.onnx, or a folder.")
    if file_format is not None and file_format not in deploy.FORMATS:
        raise TensorpressError(f"no --format {file_format}; there is: {', '.join(deploy.FORMATS)}.")
    suffixes = [kind.suffix for kind in deploy.FORMATS.values()]
    if output.suffix in suffixes:
        deploy.find_format(output, file_format)
        return output
    if file_format is None:
        raise TensorpressError(
            f"--format is missing: give {', '.join(deploy.FORMATS)}, or end -o in "
            f"{', '.join(suffixes)}."
        )
    return output / f"model{deploy.FORMATS[file_format].suffix}"


def _images(inputs: Inputs, batch: int | None) -> Tensor | None:
    """Test images, of a fixed batch so many: the first again where there are fewer."""
    if inputs.data is None:
        return None
    test = inputs.data.test
    numbers = torch.arange(batch or min(IMAGES, len(test))) % len(test)
    some = test.subset(numbers).held()
    return normalise(some.images, inputs.data.mean, inputs.data.std)
