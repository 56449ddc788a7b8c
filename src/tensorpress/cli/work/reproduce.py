"""``tensorpress reproduce``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from typer import Context

from tensorpress.cli import options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.grouped import refuse_given
from tensorpress.cli.inputs import images_left, read_inputs, warn_if_as_made
from tensorpress.cli.output import required_folder
from tensorpress.cli.printer import Printer
from tensorpress.cli.training_options import (
    LoopOptions,
    RecipeOptions,
    first_given,
)
from tensorpress.errors import TensorpressError
from tensorpress.experiments import (
    PaperTable,
    Result,
    TableRun,
    foresee_table,
    paper_table,
    read_results,
    reproduce,
)
from tensorpress.experiments.paper import NAMES, paper_counts
from tensorpress.experiments.reproduce import RESULTS
from tensorpress.networks import build
from tensorpress.surgery import count
from tensorpress.training import find_place, recipes_for

NOT_RUN = "not run"
OF_PRINTING = ("--quiet", "--json")


def reproduce_table(
    *,
    table: str,
    data: str | None,
    net: str | None,
    trained: options.Trained,
    mean: str | None,
    std: str | None,
    calibration_images: int,
    epochs: int | None,
    train_epochs: int | None,
    finetune_epochs: int | None,
    finetune_lr: float | None,
    recipe: RecipeOptions,
    paper: bool,
    teacher: bool,
    control: bool,
    int8: bool,
    loop: LoopOptions,
    output: Path | None,
    context: Context,
    printer: Printer,
) -> None:
    if table == "table1":
        why = "table1 is counted, with nothing run or read: leave this out."
        refuse_given(context, why, but=OF_PRINTING)
        counted = _counts()
        printer.result(_counts_table(counted))
        printer.values({"networks": counted})
        return
    asked_for = paper_table(table)
    results: list[Result] = []
    if data is None:
        refuse_given(
            context,
            "without --data nothing is run, and the rows of --output are shown: give --data, or "
            "leave this out.",
            but=("--output", *OF_PRINTING),
        )
    if data is not None:
        folder = required_folder(output)
        inputs = read_inputs(net or asked_for.net, data=data, mean=mean, std=std)
        assert inputs.data is not None
        network = inputs.as_network(trained)
        recipes = recipes_for(asked_for.net, paper=paper)
        taken = 0 if network.is_trained else epochs
        there_are = len(inputs.data.train) - loop.hold_back
        tuning = recipe.changes(first_given(finetune_epochs, epochs), finetune_lr)
        run = TableRun(
            folder=folder,
            network=network,
            data=inputs.data,
            train=recipes.train.changed(epochs=first_given(train_epochs, taken)),
            finetune=recipes.finetune.changed(**tuning),
            control=control,
            teacher=teacher,
            calibration_images=images_left(calibration_images, there_are, printer),
            int8=int8,
            settings=loop.settings(),
            command=command_line(),
        )
        if loop.dry_run:
            prospect = foresee_table(asked_for, run)
            if find_place(loop.device).is_main:
                printer.foreseen(prospect, [] if prospect.finished else [folder / RESULTS])
                if not prospect.finished:
                    printer.note("compressing the network for each row comes on top")
            return
        results = reproduce(asked_for, run)
        if run.train.epochs == 0 and find_place(loop.device).is_main:
            warn_if_as_made(inputs, trained, printer)
    elif output is not None:
        if not output.is_dir():
            raise TensorpressError(
                f"there is no folder {output}: give that of an earlier run, or --data to run it."
            )
        results = read_results(output / RESULTS)
    if not find_place(loop.device).is_main:
        return
    printer.result(_comparison(asked_for, results))
    printer.values(
        {
            "printed": [asdict(row) for row in asked_for.rows],
            "rows": [asdict(result) for result in results],
        }
    )


def _counts() -> list[dict[str, Any]]:
    counted = []
    for name, params, macs in paper_counts():
        cost = count(build(NAMES[name]), torch.zeros(1, 3, 32, 32))
        printed = {"params_printed": params, "macs_printed": macs}
        counted.append({"network": name, **printed, "params": cost.params, "macs": cost.macs})
    return counted


def _counts_table(counted: list[dict[str, Any]]) -> Table:
    table = Table(title="Table 1: the networks")
    for heading in ("network", "params, printed", "counted", "MACs, printed", "counted"):
        table.add_column(heading, justify="right" if heading != "network" else "left")
    for row in counted:
        numbers = (row[key] for key in ("params_printed", "params", "macs_printed", "macs"))
        table.add_row(row["network"], *(f"{number:,}" for number in numbers))
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
        table.add_row(f"ours: {result.name}", *_measured(result), style="bold")
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
