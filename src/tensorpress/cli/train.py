"""``tensorpress train``, ``finetune`` and ``run``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tensorpress import training
from tensorpress.cli import options
from tensorpress.cli.inputs import read_compressed_inputs, read_inputs, required_data
from tensorpress.cli.output import required_folder
from tensorpress.errors import TensorpressError
from tensorpress.experiments import method_of, result_of, write_results
from tensorpress.training import Compression, Distillation, Outcome, Settings, recipes_for

RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="The run's folder. The same command again goes on where it stopped."
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Epochs of each phase; the recipe's milestones scale with it.",
        rich_help_panel=options.TRAINING,
    ),
]
TrainEpochs = Annotated[
    int | None,
    typer.Option(
        "--train-epochs",
        help="Epochs of the baseline alone; 0 takes --weights as they are.",
        rich_help_panel=options.TRAINING,
    ),
]
FinetuneEpochs = Annotated[
    int | None,
    typer.Option(
        "--finetune-epochs",
        help="Epochs of fine-tuning alone.",
        rich_help_panel=options.TRAINING,
    ),
]
Lr = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Initial learning rate, in place of the recipe's.",
        rich_help_panel=options.TRAINING,
    ),
]
TrainLr = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Initial learning rate of the baseline, in place of the recipe's.",
        rich_help_panel=options.TRAINING,
    ),
]
FinetuneLr = Annotated[
    float | None,
    typer.Option(
        "--finetune-lr",
        help="Initial learning rate of fine-tuning, in place of the recipe's.",
        rich_help_panel=options.TRAINING,
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        "--weight-decay",
        help="Weight decay, in place of the recipe's.",
        rich_help_panel=options.TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="Images a step, for each process.",
        rich_help_panel=options.TRAINING,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option(
        "--schedule", help="step (the paper's) or cosine.", rich_help_panel=options.TRAINING
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", help="Of all randomness.", rich_help_panel=options.TRAINING)
]
HoldBack = Annotated[
    int,
    typer.Option(
        "--hold-back",
        help="Training images put aside to choose the best epoch; 0 takes the last.",
        rich_help_panel=options.TRAINING,
    ),
]
FreezeBn = Annotated[
    bool,
    typer.Option(
        "--freeze-bn",
        help="Keep batch-norm statistics as they are.",
        rich_help_panel=options.TRAINING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, ...; by default a GPU if there is one.",
        rich_help_panel=options.TRAINING,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", help="Of the distillation; 4 by default.", rich_help_panel=options.TRAINING
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        help="Weight of the teacher, 0.9 by default; 1 learns without labels.",
        rich_help_panel=options.TRAINING,
    ),
]


def train(
    net: options.Net = None,
    weights: options.Weights = None,
    data: options.Data = None,
    mean: options.Mean = None,
    std: options.Std = None,
    classes: options.Classes = None,
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    schedule: Schedule = None,
    seed: Seed = 0,
    hold_back: HoldBack = 0,
    freeze_bn: FreezeBn = False,
    device: Device = None,
    output: RunFolder = None,
) -> None:
    """Train a network by its recipe, or train weights on.

    tensorpress train --net resnet20 --data digits --epochs 4 -o RUN
    """
    folder = required_folder(output)
    inputs = read_inputs(net, data=required_data(data), mean=mean, std=std, classes=classes)
    assert inputs.data is not None
    changes = _changes(epochs, lr, weight_decay, batch_size, schedule)
    outcome = training.train(
        folder,
        inputs.as_network(weights),
        inputs.data,
        recipes_for(inputs.net).train.changed(**changes),
        settings=Settings(seed=seed, hold_back=hold_back, freeze_bn=freeze_bn, device=device),
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
    epochs: Epochs = None,
    lr: Lr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    schedule: Schedule = None,
    temperature: Temperature = None,
    alpha: Alpha = None,
    seed: Seed = 0,
    hold_back: HoldBack = 0,
    freeze_bn: FreezeBn = False,
    device: Device = None,
    output: RunFolder = None,
) -> None:
    """Fine-tune a compressed network.

    tensorpress finetune --compressed OUT/model.tp --data DIR --teacher dense.pth -o RUN
    """
    if compressed is None:
        raise TensorpressError("--compressed is missing: give the model.tp that compress wrote.")
    folder = required_folder(output)
    distillation = _distillation(teacher is not None, temperature, alpha)
    inputs = read_compressed_inputs(
        compressed, net=net, data=required_data(data), mean=mean, std=std, classes=classes
    )
    assert inputs.data is not None
    changes = _changes(epochs, lr, weight_decay, batch_size, schedule)
    outcome = training.finetune(
        folder,
        inputs.as_network(None),
        compressed,
        inputs.data,
        recipes_for(inputs.net).finetune.changed(**changes),
        teacher=inputs.as_network(teacher) if teacher else None,
        distillation=distillation,
        settings=Settings(seed=seed, hold_back=hold_back, freeze_bn=freeze_bn, device=device),
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
    data: options.Data = None,
    mean: options.Mean = None,
    std: options.Std = None,
    classes: options.Classes = None,
    epochs: Epochs = None,
    train_epochs: TrainEpochs = None,
    finetune_epochs: FinetuneEpochs = None,
    lr: TrainLr = None,
    finetune_lr: FinetuneLr = None,
    weight_decay: WeightDecay = None,
    batch_size: BatchSize = None,
    schedule: Schedule = None,
    teacher: Annotated[
        bool,
        typer.Option(
            "--teacher/--no-teacher",
            help="Fine-tune with the baseline as the teacher.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    temperature: Temperature = None,
    alpha: Alpha = None,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Also train the dense network on for as long, for a fair comparison.",
            rich_help_panel=options.TRAINING,
        ),
    ] = False,
    seed: Seed = 0,
    hold_back: HoldBack = 0,
    freeze_bn: FreezeBn = False,
    device: Device = None,
    output: RunFolder = None,
) -> None:
    """The whole scheme: train a baseline, compress it, fine-tune it.

    With --weights the baseline starts from them; --train-epochs 0 takes them as they are.

        tensorpress run --net resnet20 --data digits --epochs 4 --energy 0.7 --seed 5 -o RUN
    """
    rule, budget = options.read_rank(
        energy, singular_sum, relative_error, ranks, budget_params, budget_macs
    )
    folder = required_folder(output)
    distillation = _distillation(teacher, temperature, alpha)
    inputs = read_inputs(net, data=required_data(data), mean=mean, std=std, classes=classes)
    assert inputs.data is not None
    recipes = recipes_for(inputs.net)
    common = (weight_decay, batch_size, schedule)
    compression = Compression(
        method,
        rule,
        budget,
        None if not include else tuple(include),
        tuple(exclude or ()),
        skip_first,
        linear,
        balance,
    )
    outcome = training.run_scheme(
        folder,
        inputs.as_network(weights),
        inputs.data,
        compression,
        train=recipes.train.changed(**_changes(_first(train_epochs, epochs), lr, *common)),
        finetune=recipes.finetune.changed(
            **_changes(_first(finetune_epochs, epochs), finetune_lr, *common)
        ),
        distillation=distillation,
        dense_control=control,
        settings=Settings(seed=seed, hold_back=hold_back, freeze_bn=freeze_bn, device=device),
    )
    results = outcome.folder / "results.json"
    # A run killed right after its end has none.
    if outcome.is_main and not results.exists():
        label = method_of(compression, distilled=teacher)
        row = result_of(outcome.summary, label, shlex.join(["tensorpress", *sys.argv[1:]]))
        write_results(results, [row])
    _report(outcome)


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _distillation(
    taught: bool, temperature: float | None, alpha: float | None
) -> Distillation | None:
    if not taught:
        if temperature is not None or alpha is not None:
            raise TensorpressError("--temperature and --alpha are of a --teacher: give one too.")
        return None
    given = {"temperature": temperature, "alpha": alpha}
    return Distillation(**{name: value for name, value in given.items() if value is not None})


def _changes(
    epochs: int | None,
    lr: float | None,
    weight_decay: float | None,
    batch_size: int | None,
    schedule: str | None,
) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "lr": lr,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "schedule": schedule,
    }


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
