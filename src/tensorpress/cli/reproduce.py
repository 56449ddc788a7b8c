"""``tensorpress reproduce``."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from tensorpress.cli import options, training_options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.grouped import grouped
from tensorpress.cli.inputs import read_inputs
from tensorpress.cli.output import required_folder
from tensorpress.cli.training_options import (
    CALIBRATION_IMAGES,
    LoopOptions,
    RecipeOptions,
    first_given,
)
from tensorpress.experiments import (
    PaperTable,
    Result,
    TableRun,
    paper_table,
    read_results,
    reproduce,
)
from tensorpress.experiments.paper import NAMES, TABLES, paper_counts
from tensorpress.experiments.reproduce import RESULTS
from tensorpress.networks import build
from tensorpress.rows import FEWEST
from tensorpress.surgery import count
from tensorpress.training import find_place, recipes_for

NOT_RUN = "not run"


@grouped
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
        ),
    ] = None,
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
    if table == "table1":
        Console().print(_counts())
        return
    asked_for = paper_table(table)
    results: list[Result] = []
    if data is not None:
        folder = required_folder(output)
        inputs = read_inputs(net or asked_for.net, data=data, mean=mean, std=std)
        assert inputs.data is not None
        network = inputs.as_network(trained)
        recipes = recipes_for(asked_for.net, paper=paper)
        taken = 0 if network.is_trained else epochs
        there_are = len(inputs.data.train) - loop.hold_back
        tuning = recipe.changes(first_given(finetune_epochs, epochs), finetune_lr)
        results = reproduce(
            asked_for,
            TableRun(
                folder=folder,
                network=network,
                data=inputs.data,
                train=recipes.train.changed(epochs=first_given(train_epochs, taken)),
                finetune=recipes.finetune.changed(**tuning),
                control=control,
                teacher=teacher,
                calibration_images=0 if there_are < FEWEST else min(calibration_images, there_are),
                int8=int8,
                settings=loop.settings(),
                command=command_line(),
            ),
        )
    elif output is not None:
        results = read_results(output / RESULTS)
    Console(quiet=not find_place(loop.device).is_main).print(_comparison(asked_for, results))


def _counts() -> Table:
    table = Table(title="Table 1: the networks")
    for heading in ("network", "params, printed", "counted", "MACs, printed", "counted"):
        table.add_column(heading, justify="right" if heading != "network" else "left")
    for name, params, macs in paper_counts():
        cost = count(build(NAMES[name]), torch.zeros(1, 3, 32, 32))
        table.add_row(name, f"{params:,}", f"{cost.params:,}", f"{macs:,}", f"{cost.macs:,}")
    return table


def _comparison(paper: PaperTable, results: list[Result]) -> Table:
    table = Table(
        title=f"{paper.name.capitalize()}: {paper.network}, {paper.data}",
        caption="dAcc in points; control: against the baseline trained on for as long",
    )
    for heading in ("method", "dAcc", "control", "PCR", "FCR", "accuracy", "data, epochs, seed"):
        table.add_column(heading, justify="left" if heading in ("method",) else "right")
    for row in paper.rows:
        printed = (_signed(row.dacc), "", _ratio(row.pcr), _ratio(row.fcr), "", "printed")
        table.add_row(row.method, *printed)
    for result in results:
        table.add_row(f"ours: {result.method}", *_measured(result), style="bold")
    if not results:
        table.add_row("ours", NOT_RUN, *[""] * 5, style="bold")
    return table


def _measured(result: Result) -> tuple[str, ...]:
    return (
        _signed(result.dacc),
        _signed(result.dacc_vs_control),
        _ratio(result.pcr),
        _ratio(result.fcr),
        f"{result.acc_baseline:.2f} -> {result.acc:.2f} ± {result.stderr:.2f} % of {result.images}",
        f"{result.data}, {result.epochs}, {result.seed}",
    )


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
