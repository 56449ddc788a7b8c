"""``tensorpress compare``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.choices import ALL, COMPARED, INT8, RUNTIMES
from tensorpress.cli import options, training_options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped
from tensorpress.request.budget import TIME


@grouped
@declared
def compare_methods(
    *,
    net: options.Net = None,
    trained: options.Trained,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help=f"{ALL}, or some of {', '.join(COMPARED)}; {INT8} besides for each of them in "
            "int8, and the network as it is.",
        ),
    ] = ALL,
    budget_macs: Annotated[
        str, typer.Option("--budget-macs", help="MAC ratios (FCR) to reach, such as 2,4,6.")
    ] = "4",
    images: options.DataOptions,
    calibration_images: Annotated[
        int,
        typer.Option(
            "--calibration-images",
            min=0,
            help="Training images to compress with; taylor takes 1,024 where none are given.",
        ),
    ] = 0,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Fine-tune with the dense network as the teacher.")
    ] = False,
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Epochs of fine-tuning.")] = 0,
    lr: training_options.Lr = None,
    schedule: training_options.Schedule = None,
    optimizer: training_options.Optimizer = None,
    runtime: Annotated[
        str, typer.Option("--runtime", help=f"{', '.join(RUNTIMES)}.", rich_help_panel=TIME)
    ] = "torch",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of a forward pass.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images of a forward pass.")] = 1,
    seed: training_options.Seed = 0,
    fold_parametrizations: Annotated[
        bool,
        typer.Option(
            "--fold-parametrizations",
            help="Take the weights that weight norm, spectral norm and pruning masks come to.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for compare.json, .md and .png; finished rows stay.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    context: typer.Context,
) -> None:
    """Decompositions and prunings at equal MACs: accuracy before and after fine-tuning, and time.

    The same command goes on where it stopped; a method that fails is a row with its reason, and is
    tried again. Where the paper has a table on the network and the data, its rows are added as
    printed.

    tensorpress compare --net resnet20 --weights FILE --budget-macs 2,4,6 --data DIR -o COMPARED
    """
