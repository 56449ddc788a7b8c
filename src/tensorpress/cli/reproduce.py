"""``tensorpress reproduce``."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from tensorpress.cli import options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.grouped import grouped
from tensorpress.cli.inputs import read_inputs
from tensorpress.cli.output import required_folder
from tensorpress.cli.training_options import LoopOptions
from tensorpress.experiments import (
    PaperTable,
    Result,
    TableRun,
    paper_table,
    read_results,
    reproduce,
)
from tensorpress.experiments.paper import NAMES, paper_counts
from tensorpress.experiments.reproduce import RESULTS, points
from tensorpress.networks import build
from tensorpress.surgery import count
from tensorpress.training import find_place

NOT_RUN = "not run"


@grouped
def reproduce_table(
    *,
    table: Annotated[str, typer.Argument(help="table1, table2, table3, table4 or table5.")],
    data: options.Data = None,
    trained: options.Trained,
    mean: options.Mean = None,
    std: options.Std = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", help="Epochs of each phase, in place of the paper's 100 or 200."),
    ] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Fine-tune with the baseline as the teacher.")
    ] = False,
    control: Annotated[
        bool,
        typer.Option("--control/--no-control", help="Also train the baseline on for as long."),
    ] = True,
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
    """Print one of the paper's tables with our measured rows beside the printed ones.

    Without --data nothing is run, and only what stands in -o from earlier is shown. Runs resume.

    tensorpress reproduce table1

    tensorpress reproduce table4 --data cifar100 --epochs 20 -o TABLE4
    """
    if table == "table1":
        Console().print(_counts())
        return
    paper = paper_table(table)
    results: list[Result] = []
    if data is not None:
        folder = required_folder(output)
        inputs = read_inputs(paper.net, data=data, mean=mean, std=std)
        assert inputs.data is not None
        plan = TableRun(
            folder=folder,
            network=inputs.as_network(trained),
            data=inputs.data,
            epochs=epochs,
            control=control,
            teacher=teacher,
            settings=loop.settings(),
            command=command_line(),
        )
        results = reproduce(paper, plan)
    elif output is not None:
        results = read_results(output / RESULTS)
    Console(quiet=not find_place(loop.device).is_main).print(
        _comparison(paper, {result.method: result for result in results})
    )


def _counts() -> Table:
    table = Table(title="Table 1: the networks")
    for heading in ("network", "params, printed", "counted", "MACs, printed", "counted"):
        table.add_column(heading, justify="right" if heading != "network" else "left")
    for name, params, macs in paper_counts():
        cost = count(build(NAMES[name]), torch.zeros(1, 3, 32, 32))
        table.add_row(name, f"{params:,}", f"{cost.params:,}", f"{macs:,}", f"{cost.macs:,}")
    return table


def _comparison(paper: PaperTable, results: dict[str, Result]) -> Table:
    table = Table(
        title=f"{paper.name.capitalize()}: {paper.network}, {paper.data} in the paper",
        caption="dAcc in points; control: against the baseline trained on for as long",
    )
    for heading in ("method", "dAcc", "control", "PCR", "FCR", "accuracy", "data, epochs, seed"):
        table.add_column(heading, justify="left" if heading in ("method",) else "right")
    for row in paper.rows:
        printed = (_signed(row.dacc), "", _ratio(row.pcr), _ratio(row.fcr), "", "printed")
        table.add_row(row.method, *printed)
        for method in points(row):
            table.add_row(f"  ours: {method}", *_measured(results.get(method)), style="bold")
    return table


def _measured(result: Result | None) -> tuple[str, ...]:
    if result is None:
        return (NOT_RUN, "", "", "", "", "")
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
