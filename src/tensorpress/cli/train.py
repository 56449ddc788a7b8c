"""``tensorpress train``, ``finetune`` and ``run``."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tensorpress import training
from tensorpress.cli import graphs, options, request_options, training_options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.grouped import grouped
from tensorpress.cli.inputs import (
    read_compressed_inputs,
    read_inputs,
    refuse_without_weights,
    say_if_as_made,
)
from tensorpress.cli.output import required_folder
from tensorpress.cli.training_options import (
    CALIBRATION_IMAGES,
    LoopOptions,
    RecipeOptions,
    TeacherOptions,
    TeachingOptions,
)
from tensorpress.compression.calibration import read_recovery
from tensorpress.compression.checks import refuse_unjudged, starts_at_random
from tensorpress.compression.request import Calibration
from tensorpress.errors import TensorpressError
from tensorpress.experiments import method_of, result_of, write_results
from tensorpress.rows import FEWEST
from tensorpress.training import Outcome, recipes_for


@grouped
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
    folder = required_folder(output)
    settings = loop.settings(command_line())
    graphs.refuse_training(net)
    inputs = read_inputs(net, **images.required())
    assert inputs.data is not None
    outcome = training.train(
        folder,
        inputs.as_network(trained),
        inputs.data,
        recipes_for(inputs.net).train.changed(**recipe.changes(epochs, lr)),
        settings=settings,
    )
    _report(outcome)


@grouped
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
    if compressed is None:
        raise TensorpressError("--compressed is missing: give the model.tp that compress wrote.")
    folder = required_folder(output)
    settings = loop.settings(command_line())
    teacher = dense.trained()
    refuse_without_weights(teacher, "--teacher")
    distillation = teaching.read(taught=teacher.weights is not None)
    inputs = read_compressed_inputs(compressed, net=net, **images.required())
    assert inputs.data is not None
    outcome = training.finetune(
        folder,
        inputs.as_network(options.Trained()),
        compressed,
        inputs.data,
        recipes_for(inputs.net, paper=paper).finetune.changed(**recipe.changes(epochs, lr)),
        teacher=inputs.as_network(teacher) if teacher.weights else None,
        distillation=distillation,
        settings=settings,
    )
    _report(outcome)


@grouped
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
    treated = request_options.check_asked(asked)
    folder = required_folder(output)
    settings = loop.settings(command_line())
    taught = not paper if teacher is None else teacher
    distillation = teaching.read(taught=taught)
    graphs.refuse_training(net)
    inputs = read_inputs(net, **images.required())
    assert inputs.data is not None
    recipes = recipes_for(inputs.net, paper=paper)
    first = training_options.first_given(train_epochs, epochs)
    most, how = request_options.calibration_asked(context, asked, calibration_images, recover)
    if most is None:
        there_are = len(inputs.data.train) - loop.hold_back
        without = paper or there_are < FEWEST or config is not None
        without = without or starts_at_random(treated)
        most = 0 if without else min(CALIBRATION_IMAGES, there_are)
    if not most and not how:
        raise TensorpressError(
            "recover=False (--no-recover) says what is done with calibration images: give "
            "calibration_images (--calibration-images) too."
        )
    request = dataclasses.replace(
        asked, calibration=Calibration(most, read_recovery(how)) if most else None
    )
    if request.budget is not None:
        scored = request.budget.needs_score
        refuse_unjudged(request.budget, calibrated=request.calibration is not None, scored=scored)
    tuning = recipes.finetune.changed(
        **recipe.changes(training_options.first_given(finetune_epochs, epochs), finetune_lr)
    )
    outcome = training.run_scheme(
        folder,
        inputs.as_network(trained),
        inputs.data,
        request,
        train=recipes.train.changed(**recipe.changes(first, lr)),
        finetune=tuning,
        distillation=distillation,
        dense_control=control,
        settings=settings,
    )
    results = outcome.folder / "results.json"
    # A run killed right after its end has none.
    if outcome.is_main and not results.exists():
        label = method_of(request, tuning, distilled=taught)
        row = result_of(outcome.summary, label, command_line())
        write_results(results, [row])
    _report(outcome)
    if first == 0 and outcome.is_main:
        say_if_as_made(inputs, trained)


def _report(outcome: Outcome) -> None:
    if not outcome.is_main:
        return
    facts = outcome.summary
    typer.echo("")
    if "pcr" in facts:
        typer.echo(f"PCR {facts['pcr']:.2f}  FCR {facts['fcr']:.2f}")
    for key, label in (
        ("acc_baseline", "baseline"),
        ("acc_before_finetune", "compressed, not fine-tuned"),
        ("acc", "at the end"),
        ("acc_dense_control", "baseline trained on as long"),
    ):
        if facts.get(key) is not None:
            typer.echo(f"{label:<28} {facts[key]:.2f} %")
    for key, label in (
        ("dacc", "dAcc to the baseline"),
        ("dacc_vs_control", "dAcc to the trained-on one"),
        ("gained", "won back by fine-tuning"),
    ):
        if facts.get(key) is not None:
            typer.echo(f"{label:<28} {facts[key]:+.2f} points")
    typer.echo(f"on {facts['images']} test images, standard error {facts['stderr']:.2f} points")
    typer.echo(f"written to {outcome.model_file}")
