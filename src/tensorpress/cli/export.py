"""``tensorpress export``."""

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from tensorpress import deploy
from tensorpress.cli import options
from tensorpress.cli.grouped import grouped
from tensorpress.cli.inputs import Inputs, read_calibration, read_network, say_if_as_made
from tensorpress.data import normalise
from tensorpress.deploy.int8.calibration import MOST
from tensorpress.deploy.int8.fidelity import FLOOR
from tensorpress.deploy.planning.setting import INT8
from tensorpress.errors import TensorpressError

IMAGES = 64

FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="onnx, pt2 (torch.export) or openvino; by default what the name after -o ends in.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option("--batch", min=1, help="Fix the batch size; by default it stays free."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A file that ends in .onnx, .pt2 or .xml (its weights are then in the .bin beside "
        "it), or a folder for model.onnx, model.pt2 or model.xml.",
    ),
]
Planned = Annotated[
    int | None,
    typer.Option(
        "--planned",
        min=1,
        metavar="<batch>",
        help="Write layers in the executions that are measured here to be the fastest for so many "
        "images at once, in the file's runtime.",
    ),
]

AsStored = Annotated[
    bool,
    typer.Option(
        "--as-stored",
        help="In int8: write layers as they are stored, the smallest file, in place of the "
        "fastest executions measured here.",
    ),
]


@grouped
def export(
    *,
    net: options.Net = None,
    trained: options.Trained,
    compressed: options.Compressed = None,
    file_format: FileFormat = None,
    batch: Batch = None,
    planned: Planned = None,
    as_stored: AsStored = False,
    precision: options.Precision = "f32",
    calibrate: options.Calibrate = None,
    min_agreement: options.MinAgreement = FLOOR,
    keep_float: options.KeepFloat = None,
    images: options.DataOptions,
    output: Output = None,
) -> None:
    """Write a network for ONNX Runtime, torch.export or OpenVINO, and check that it stayed equal.

    It is run there on random inputs, with --data on test images too, before it takes its place.

        tensorpress export --compressed RUN/model.tp --format onnx --data DIR -o OUT

        tensorpress export --net resnet56 --weights resnet56.th -o resnet56.xml

        tensorpress export --compressed RUN/model.tp --planned 1 -o planned.onnx

        tensorpress export --compressed RUN/model.tp --precision int8 --calibrate DIR -o small.onnx
    """
    path = _place(output, file_format)
    if (precision == INT8) != (calibrate is not None):
        raise TensorpressError(
            "--precision int8 and --calibrate go together: the ranges of values are read off "
            "images without labels."
        )
    if as_stored and planned is not None:
        raise TensorpressError("--as-stored and --planned exclude each other: give one of them.")
    named: dict[str, Any] = {"net": net, "calibrate": calibrate, "tests_alone": True}
    named |= images.given()
    inputs, network = read_network(compressed, trained, **named)
    report = deploy.export(
        network,
        path,
        torch.zeros(batch or planned or 1, *inputs.shape),
        format=file_format,
        dynamic_batch=batch is None,
        check_inputs=_images(inputs, batch or IMAGES),
        precision=precision,
        calibration=read_calibration(calibrate, MOST, inputs),
        min_agreement=min_agreement,
        keep_float=keep_float or (),
        planned=False if as_stored else True if planned else None,
    )
    if report.plan is not None:
        typer.echo(f"{report.plan}\n")
    typer.echo(str(report))
    if compressed is None:
        say_if_as_made(inputs, trained)


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


def _images(inputs: Inputs, count: int) -> Tensor | None:
    if inputs.data is None:
        return None
    test = inputs.data.test
    some = test.subset(torch.arange(min(count, len(test)))).held()
    return normalise(some.images, inputs.data.mean, inputs.data.std)
