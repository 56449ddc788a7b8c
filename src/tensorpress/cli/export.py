"""``tensorpress export``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.cli import options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped

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
        rich_help_panel=options.OUTPUT,
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
        help="Write layers as they are stored, the smallest file, in place of the fastest "
        "executions measured here.",
        rich_help_panel=options.IN_INT8,
    ),
]


@grouped
@declared
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
    min_agreement: options.MinAgreement = None,
    keep_float: options.KeepFloat = None,
    images: options.DataOptions,
    input_dtype: options.InputDtype = None,
    output: Output = None,
    dry_run: options.DryRun = False,
) -> None:
    """Write a network for ONNX Runtime, torch.export or OpenVINO, and check that it stayed equal.

    It is run there on random inputs, with --data on test images too, before it takes its place.

        tensorpress export --compressed RUN/model.tp --format onnx --data DIR -o OUT

        tensorpress export --net resnet56 --weights resnet56.th -o resnet56.xml

        tensorpress export --compressed RUN/model.tp --planned 1 -o planned.onnx

        tensorpress export --compressed RUN/model.tp --precision int8 --calibrate DIR -o small.onnx
    """
