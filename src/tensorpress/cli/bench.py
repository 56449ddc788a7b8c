"""``tensorpress bench``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.choices import ALL, AUTO, RUNTIMES
from tensorpress.cli import options
from tensorpress.cli.declared import declared


@declared
def bench(
    compressed: Annotated[
        Path | None,
        typer.Option(
            "--compressed",
            help="The model.tp to measure, which knows its network; or a file of ONNX, beside that "
            "of --net.",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    net: options.Net = None,
    runtimes: Annotated[
        str, typer.Option("--runtimes", help=f"{ALL}, or some of {', '.join(RUNTIMES)}.")
    ] = ALL,
    batches: Annotated[str, typer.Option("--batches", help="Batch sizes.")] = "1,32",
    threads: Annotated[str, typer.Option("--threads", help="Threads of a call.")] = "1",
    precisions: Annotated[
        str,
        typer.Option(
            "--precisions",
            "--precision",
            help="auto, the runtime's own; f32; bf16 where the processor has it; int8 with "
            "--calibrate.",
        ),
    ] = AUTO,
    calibrate: options.Calibrate = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Print each plan, layer by layer.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="Measure each row for about so long.")
    ] = 4.0,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep measured plans for the next time.")
    ] = True,
    input_shape: options.InputShape = None,
    input_dtype: options.InputDtype = None,
    classes: options.Classes = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for bench.json, bench.txt, bench.png.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
) -> None:
    """Time a compressed network against the dense one, side by side, as planned and as stored.

    tensorpress bench --compressed OUT/model.tp --batches 1,32,128 --threads 1,2 -o BENCH

    tensorpress bench --net model.onnx --compressed OUT/model.onnx

    own is the dense network as the runtime runs it by itself, dense the same in the row's
    precision, stored the compressed one with its layers as they are stored, planned with each in
    its fastest way. The speed is that of planned over the faster of own and dense.
    """
