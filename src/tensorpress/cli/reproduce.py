"""``tensorpress reproduce``, as it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.choices import TABLES
from tensorpress.cli import options, training_options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped
from tensorpress.cli.training_options import (
    CALIBRATION_IMAGES,
    LoopOptions,
    RecipeOptions,
)


@grouped
@declared
def reproduce_table(
    *,
    table: Annotated[str, typer.Argument(help=f"{', '.join(TABLES[:-1])} or {TABLES[-1]}.")],
    data: options.Data = None,
    net: Annotated[
        str | None,
        typer.Option(
            "--net",
            help="A network of its kind in place of the table's, such as resnet56-projection.",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    trained: options.Trained,
    mean: options.Mean = None,
    std: options.Std = None,
    calibration_images: Annotated[
        int,
        typer.Option(
            "--calibration-images",
            min=0,
            help="Training images, without their labels, of the rows that are calibrated; 0 "
            "leaves these rows out.",
            rich_help_panel=options.CALIBRATION,
        ),
    ] = CALIBRATION_IMAGES,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Epochs of each phase, in place of the paper's 100 or 200."),
    ] = None,
    train_epochs: Annotated[
        int | None,
        typer.Option(
            "--train-epochs",
            help="Epochs of the baseline alone; by default --weights are taken as they are.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    finetune_epochs: training_options.FinetuneEpochs = None,
    finetune_lr: training_options.FinetuneLr = None,
    recipe: RecipeOptions,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper/--no-paper",
            help="Fine-tune by the paper's recipe, or by ours: Muon at 0.002 by cosine.",
            rich_help_panel=options.TRAINING,
        ),
    ] = True,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Fine-tune with the baseline as the teacher.")
    ] = False,
    control: Annotated[
        bool,
        typer.Option("--control/--no-control", help="Also train the baseline on for as long."),
    ] = True,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Also measure every network in int8, in ONNX Runtime."),
    ] = False,
    loop: LoopOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the table's runs; several hosts must see the same.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    context: typer.Context,
) -> None:
    """Print a table of the paper, or of further points, with our measured rows beside the printed.

    At each point there is a row of TTPWT as printed, of TTPWT calibrated and of the best form of
    each layer, all fine-tuned alike. The baseline is --weights, or is trained by the paper's
    recipe; options of the recipe are of fine-tuning. Without --data nothing is run, and only what
    stands in -o from earlier is shown. Runs resume.

    tensorpress reproduce table1

    tensorpress reproduce table4 --data cifar100 --epochs 20 -o TABLE4

    tensorpress reproduce resnet20-cifar10 --weights resnet20.th --data cifar10 --no-paper
    --teacher --int8 --epochs 8 -o R20
    """
