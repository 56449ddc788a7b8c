"""``tensorpress compress``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.cli import graphs, options, request_options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder for model.tp, or for a file of ONNX model.onnx, with account.txt and "
        "account.json; made if missing.",
        rich_help_panel=options.OUTPUT,
    ),
]

StoreAs = Annotated[
    str | None,
    typer.Option(
        "--store-as",
        help="Store weights as float16 or bfloat16, half the size; by default as they are.",
        rich_help_panel=options.OUTPUT,
    ),
]


@grouped
@declared
def compress(
    *,
    net: options.Net = None,
    trained: options.Trained,
    compressed: options.Compressed = None,
    asked: request_options.Asked,
    images: options.DataOptions,
    input_dtype: options.InputDtype = None,
    calibrate: options.Calibrate = None,
    calibration_images: options.CalibrationImages = 2000,
    recover: options.Recover = True,
    seed: options.CalibrationSeed = None,
    device: options.Device = None,
    config: request_options.Config = None,
    output: Output = None,
    store_as: StoreAs = None,
    written: graphs.Written,
    dry_run: options.DryRun = False,
    context: typer.Context,
) -> None:
    """Make a trained network smaller and print the account, layer by layer.

    With --data, its accuracy before and after stands below (without any fine-tuning).

        tensorpress compress --net resnet56 --weights resnet56.th --energy 0.8 --data DIR -o OUT

        tensorpress compress --net resnet56 --weights resnet56.th --budget-macs 4 --calibrate DIR

        tensorpress compress --net my_code.nets:make --input-shape 3,224,224 --budget-params 4

        tensorpress compress --compressed OUT/model.tp --method l1 --budget-macs 2 -o SMALLER

        tensorpress compress --net model.onnx --calibrate DIR --budget-macs 2 -o OUT

        tensorpress compress --net model.onnx --calibrate DIR --budget-macs 2 --precision int8 -o Q
    """
