"""``tensorpress train``, ``finetune`` and ``run``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tensorpress import training
from tensorpress.cli import options, training_options
from tensorpress.cli.inputs import read_compressed_inputs, read_inputs, required_data
from tensorpress.cli.output import required_folder
from tensorpress.errors import TensorpressError
from tensorpress.experiments import method_of, result_of, write_results
from tensorpress.training import Compression, Outcome, Settings, recipes_for


def train(
    net: options.Net = None,
    weights: options.Weights = None,
    data: options.Data = None,
    mean: options.Mean = None,
    std: options.Std = None,
    classes: options.Classes = None,
    epochs: training_options.Epochs = None,
    lr: training_options.Lr = None,
    weight_decay: training_options.WeightDecay = None,
    batch_size: training_options.BatchSize = None,
    schedule: training_options.Schedule = None,
    optimizer: training_options.Optimizer = None,
    seed: training_options.Seed = 0,
    hold_back: training_options.HoldBack = 0,
    freeze_bn: training_options.FreezeBn = False,
    device: training_options.Device = None,
    compiled: training_options.Compiled = None,
    output: training_options.RunFolder = None,
) -> None:
    """Train a network by its recipe, or train weights on.

    tensorpress train --net resnet20 --data digits --epochs 4 -o RUN
    """
    folder = required_folder(output)
    inputs = read_inputs(net, data=required_data(data), mean=mean, std=std, classes=classes)
    assert inputs.data is not None
    changes = training_options.recipe_changes(
        epochs, lr, weight_decay, batch_size, schedule, optimizer
    )
    outcome = training.train(
        folder,
        inputs.as_network(weights),
        inputs.data,
        recipes_for(inputs.net).train.changed(**changes),
        settings=Settings(
            seed=seed, hold_back=hold_back, freeze_bn=freeze_bn, device=device, compiled=compiled
        ),
    )
    _report(outcome)


def finetune(
    compressed: Annotated[
        Path | None,
        typer.Option(
            "--compressed",
            help="The model.tp to fine-tune; it knows its network and normalisation.",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    net: options.Net = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            help="Weights of the dense network, to learn from it.",
            rich_help_panel=options.TRAINING,
        ),
    ] = None,
    data: options.Data = None,
    mean: options.Mean = None,
    std: options.Std = None,
    classes: options.Classes = None,
    epochs: training_options.Epochs = None,
    lr: training_options.Lr = None,
    weight_decay: training_options.WeightDecay = None,
    batch_size: training_options.BatchSize = None,
    schedule: training_options.Schedule = None,
    optimizer: training_options.Optimizer = None,
    temperature: training_options.Temperature = None,
    alpha: training_options.Alpha = None,
    follow: training_options.Follow = None,
    seed: training_options.Seed = 0,
    hold_back: training_options.HoldBack = 0,
    freeze_bn: training_options.FreezeBn = False,
    device: training_options.Device = None,
    compiled: training_options.Compiled = None,
    output: training_options.RunFolder = None,
) -> None:
    """Fine-tune a compressed network.

    tensorpress finetune --compressed OUT/model.tp --data DIR --teacher dense.pth -o RUN
    """
    if compressed is None:
        raise TensorpressError("--compressed is missing: give the model.tp that compress wrote.")
    folder = required_folder(output)
    distillation = training_options.read_distillation(
        teacher is not None, temperature, alpha, follow
    )
    inputs = read_compressed_inputs(
        compressed, net=net, data=required_data(data), mean=mean, std=std, classes=classes
    )
    assert inputs.data is not None
    changes = training_options.recipe_changes(
        epochs, lr, weight_decay, batch_size, schedule, optimizer
    )
    outcome = training.finetune(
        folder,
        inputs.as_network(None),
        compressed,
        inputs.data,
        recipes_for(inputs.net).finetune.changed(**changes),
        teacher=inputs.as_network(teacher) if teacher else None,
        distillation=distillation,
        settings=Settings(
            seed=seed, hold_back=hold_back, freeze_bn=freeze_bn, device=device, compiled=compiled
        ),
    )
    _report(outcome)


def run(
    net: options.Net = None,
    weights: options.Weights = None,
    energy: options.EnergyShare = None,
    singular_sum: options.SingularShare = None,
    relative_error: options.ErrorBound = None,
    ranks: options.FixedRanks = None,
    budget_params: options.BudgetParams = None,
    budget_macs: options.BudgetMacs = None,
    method: options.Method = "ttpwt",
    include: options.Include = None,
    exclude: options.Exclude = None,
    skip_first: options.SkipFirst = True,
    linear: options.Linear = False,
    balance: options.Balance = False,
    calibration_images: Annotated[
        int,
        typer.Option(
            "--calibration-images",
            min=0,
            help="Compress with so many training images, without their labels: more accuracy to "
            "fine-tune from. 2000 is a good number, 0 is the paper's method.",
            rich_help_panel=options.CALIBRATION,
        ),
    ] = 0,
    recover: options.Recover = True,
    data: options.Data = None,
    mean: options.Mean = None,
    std: options.Std = None,
    classes: options.Classes = None,
    epochs: training_options.Epochs = None,
    train_epochs: training_options.TrainEpochs = None,
    finetune_epochs: training_options.FinetuneEpochs = None,
    lr: training_options.TrainLr = None,
    finetune_lr: training_options.FinetuneLr = None,
    weight_decay: training_options.WeightDecay = None,
    batch_size: training_options.BatchSize = None,
    schedule: training_options.Schedule = None,
    optimizer: training_options.Optimizer = None,
    teacher: Annotated[
        bool,
        typer.Option(
            "--teacher/--no-teacher",
            help="Fine-tune with the baseline as the teacher.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    temperature: training_options.Temperature = None,
    alpha: training_options.Alpha = None,
    follow: training_options.Follow = None,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Also train the dense network on for as long, for a fair comparison.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    seed: training_options.Seed = 0,
    hold_back: training_options.HoldBack = 0,
    freeze_bn: training_options.FreezeBn = False,
    device: training_options.Device = None,
    compiled: training_options.Compiled = None,
    output: training_options.RunFolder = None,
) -> None:
    """The whole scheme: train a baseline, compress it, fine-tune it.

    With --weights the baseline starts from them; --train-epochs 0 takes them as they are.

        tensorpress run --net resnet20 --data digits --epochs 4 --energy 0.7 --seed 5 -o RUN
    """
    rule, budget = options.read_rank(
        energy, singular_sum, relative_error, ranks, budget_params, budget_macs
    )
    folder = required_folder(output)
    distillation = training_options.read_distillation(teacher, temperature, alpha, follow)
    inputs = read_inputs(net, data=required_data(data), mean=mean, std=std, classes=classes)
    assert inputs.data is not None
    recipes = recipes_for(inputs.net)
    common = (weight_decay, batch_size, schedule, optimizer)
    compression = Compression(
        method,
        rule,
        budget,
        None if not include else tuple(include),
        tuple(exclude or ()),
        skip_first,
        linear,
        balance,
        calibration_images,
        recover,
    )
    outcome = training.run_scheme(
        folder,
        inputs.as_network(weights),
        inputs.data,
        compression,
        train=recipes.train.changed(
            **training_options.recipe_changes(
                training_options.first_given(train_epochs, epochs), lr, *common
            )
        ),
        finetune=recipes.finetune.changed(
            **training_options.recipe_changes(
                training_options.first_given(finetune_epochs, epochs), finetune_lr, *common
            )
        ),
        distillation=distillation,
        dense_control=control,
        settings=Settings(
            seed=seed, hold_back=hold_back, freeze_bn=freeze_bn, device=device, compiled=compiled
        ),
    )
    results = outcome.folder / "results.json"
    # A run killed right after its end has none.
    if outcome.is_main and not results.exists():
        label = method_of(compression, distilled=teacher)
        row = result_of(outcome.summary, label, shlex.join(["tensorpress", *sys.argv[1:]]))
        write_results(results, [row])
    _report(outcome)


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
