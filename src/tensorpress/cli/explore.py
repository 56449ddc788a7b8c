"""``tensorpress explore``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.choices import RATIOS
from tensorpress.cli import options, request_options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped

USUAL_RATIOS = ",".join(f"{ratio:g}" for ratio in RATIOS)


@grouped
@declared
def explore(
    *,
    net: options.Net = None,
    trained: options.Trained,
    calibrate: options.Calibrate = None,
    calibration_images: options.CalibrationImages = 1000,
    seed: options.CalibrationSeed = None,
    ratios: Annotated[
        str, typer.Option("--ratios", help="PCR and FCR to look at, both at once.")
    ] = USUAL_RATIOS,
    layers: request_options.Selection,
    images: options.DataOptions,
    input_dtype: options.InputDtype = None,
    device: options.Device = None,
    config: request_options.Config = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for explore.json, explore.txt, explore.png.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    context: typer.Context,
) -> None:
    """What each layer would lose at which rank, and the network at which budget.

    With --data, each budget's network is also evaluated, after the steps in closed form, on
    training images: what is chosen by is not what is tested on.

        tensorpress explore --net resnet20 --weights resnet20.th --calibrate DIR --data DIR -o OUT
    """
