"""``tensorpress train``, ``finetune`` and ``run``, as they are asked for."""

from pathlib import Path
from typing import Annotated

import typer

from tensorpress.cli import options, request_options, training_options
from tensorpress.cli.declared import declared
from tensorpress.cli.grouped import grouped
from tensorpress.cli.training_options import (
    CALIBRATION_IMAGES,
    LoopOptions,
    RecipeOptions,
    TeacherOptions,
    TeachingOptions,
)


@grouped
@declared
def train(
    *,
    net: options.Net = None,
    trained: options.Trained,
    images: options.DataOptions,
    epochs: training_options.Epochs = None,
    lr: training_options.Lr = None,
    recipe: RecipeOptions,
    loop: LoopOptions,
    output: training_options.RunFolder = None,
) -> None:
    """Train a network by its recipe, or train weights on.

    tensorpress train --net resnet20 --data digits --epochs 4 -o RUN
    """


@grouped
@declared
def finetune(
    *,
    compressed: Annotated[
        Path | None,
        typer.Option(
            "--compressed",
            help="The model.tp to fine-tune; it knows its network and normalisation.",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    net: options.Net = None,
    dense: TeacherOptions,
    images: options.DataOptions,
    epochs: training_options.Epochs = None,
    lr: training_options.Lr = None,
    recipe: RecipeOptions,
    paper: training_options.Paper = False,
    teaching: TeachingOptions,
    loop: LoopOptions,
    output: training_options.RunFolder = None,
) -> None:
    """Fine-tune a compressed network.

    tensorpress finetune --compressed OUT/model.tp --data DIR --teacher dense.pth -o RUN
    """


@grouped
@declared
def run(
    *,
    net: options.Net = None,
    trained: options.Trained,
    asked: request_options.Asked,
    calibration_images: Annotated[
        int | None,
        typer.Option(
            "--calibration-images",
            min=0,
            help="Compress with so many training images, without their labels: more accuracy to "
            f"fine-tune from. By default {CALIBRATION_IMAGES}; 0 looks at kernels alone.",
            rich_help_panel=options.CALIBRATION,
        ),
    ] = None,
    recover: options.Recover = True,
    images: options.DataOptions,
    epochs: training_options.Epochs = None,
    train_epochs: training_options.TrainEpochs = None,
    finetune_epochs: training_options.FinetuneEpochs = None,
    lr: training_options.TrainLr = None,
    finetune_lr: training_options.FinetuneLr = None,
    recipe: RecipeOptions,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="The paper's scheme: no calibration, no teacher, and its recipe of fine-tuning, "
            "where no option says otherwise.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    teacher: Annotated[
        bool | None,
        typer.Option(
            "--teacher/--no-teacher",
            help="Fine-tune with the baseline as the teacher, or on labels. By default with.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    teaching: TeachingOptions,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Also train the dense network on for as long, for a fair comparison.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    loop: LoopOptions,
    config: request_options.Config = None,
    output: training_options.RunFolder = None,
    context: typer.Context,
) -> None:
    """The whole scheme: train a baseline, compress it, fine-tune it.

    With --weights the baseline starts from them; --train-epochs 0 takes them as they are. What
    helps is the default: calibration, the baseline as teacher, and our recipe of fine-tuning.

        tensorpress run --net resnet20 --data digits --epochs 4 --energy 0.7 --seed 5 -o RUN
    """
