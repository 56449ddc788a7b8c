"""``tensorpress report``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.cli import options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped

BATCH = 8


@grouped
@declared
def report(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="The folder of a run, the -o folder of compress, or a model.tp.",
            show_default=False,
        ),
    ],
    *,
    net: options.Net = None,
    trained: options.Trained,
    input_shape: options.InputShape = None,
    input_dtype: options.InputDtype = None,
    classes: options.Classes = None,
    layer: Annotated[
        str | None,
        typer.Option(
            "--layer",
            help="The layer whose spectra are shown first and drawn as PNG; by default the "
            "largest that was decomposed.",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Inputs at a time where time is measured.")
    ] = BATCH,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Measure milliseconds on this machine.")
    ] = True,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="DIR",
            help="Measure int8 too, in ONNX Runtime, with ranges read off these images; as "
            "compress takes them.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the report; by default RUN/report.",
            metavar="DIR",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
) -> None:
    """A page to look at: what a compression cost and brought, with charts by layer.

    DIR gets index.html, one file that needs no network; its numbers as CSV; its figures as PNG.
    The spectra need the dense weights: a run has them, otherwise give --weights. Time is that of
    the dense network, of the compressed one as it is stored and as it is planned.

        tensorpress report RUN

        tensorpress report OUT --weights resnet56.th -o PAGE
    """
