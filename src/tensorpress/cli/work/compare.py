"""``tensorpress compare``."""

import itertools
import json
from pathlib import Path

from typer import Context

from tensorpress.aligned import ruled
from tensorpress.charts import can_plot
from tensorpress.choices import ALL, COMPARED, INT8
from tensorpress.cli import graphs, options, training_options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.grouped import refuse_given
from tensorpress.cli.inputs import read_inputs, required_net, warn_if_as_made
from tensorpress.cli.output import output_folder, required_folder
from tensorpress.cli.printer import Printer
from tensorpress.errors import TensorpressError
from tensorpress.experiments.compare import ROWS, compare
from tensorpress.experiments.comparison import Comparison, Row
from tensorpress.experiments.comparison_page import comparison_table, plot_comparison
from tensorpress.experiments.paper import PaperRow, PaperTable, tables_on
from tensorpress.files import write_atomically, write_whole
from tensorpress.training import recipes_for

PAGE = ("compare.md", "compare.png")
OF_FINE_TUNING = ("--teacher", "--lr", "--schedule", "--optimizer")


def compare_methods(
    *,
    net: str | None,
    trained: options.Trained,
    methods: str,
    budget_macs: str,
    images: options.DataOptions,
    calibration_images: int,
    teacher: bool,
    epochs: int,
    lr: float | None,
    schedule: str | None,
    optimizer: str | None,
    runtime: str,
    threads: int,
    batch: int,
    seed: int,
    fold_parametrizations: bool,
    output: Path | None,
    context: Context,
    printer: Printer,
) -> None:
    folder = required_folder(output)
    names, budgets = _read_methods(methods), options.read_ratios(budget_macs, "--budget-macs")
    if epochs:
        graphs.refuse_training(net)
    else:
        why = "without --epochs nothing is fine-tuned: give --epochs, or leave this out."
        refuse_given(context, why, among=OF_FINE_TUNING)
    changes = training_options.RecipeOptions(schedule=schedule, optimizer=optimizer).changes(
        epochs, lr
    )
    what = Comparison(
        methods=tuple(name for name in names if name != INT8),
        int8=INT8 in names,
        budgets=tuple(budgets),
        recipe=recipes_for(required_net(net)).finetune.changed(**changes),
        teacher=teacher,
        calibration_images=calibration_images,
        runtime=runtime,
        threads=threads,
        batch=batch,
        seed=seed,
        fold_parametrizations=fold_parametrizations,
    )
    what.refuse_impossible()
    with output_folder(folder, (ROWS, *PAGE)):
        inputs = read_inputs(net, **images.required())
        assert inputs.data is not None
        rows = compare(
            inputs.net,
            inputs.load(trained),
            inputs.data,
            what,
            folder,
            command=command_line(),
            on_row=lambda row: printer.note(_told(row)),
        )
        printer.result(_table(rows, tables_on(inputs.net, inputs.data.name)))
        printer.values(json.loads((folder / ROWS).read_text(encoding="utf-8")))
        warn_if_as_made(inputs, trained, printer)
        _write(folder, rows)
        printer.written(folder)
    if rows and all(row.acc is None for row in rows):
        raise TensorpressError(
            f"nothing was compared: none of the {len(rows)} rows came to a network, and each says "
            "why; ask for smaller ratios, or for other methods."
        )


def _write(folder: Path, rows: list[Row]) -> None:
    text, chart = PAGE
    write_whole(folder / text, comparison_table(rows))
    if can_plot() and any(row.acc is not None for row in rows):
        write_atomically(folder / chart, lambda path: plot_comparison(rows, path))


def _read_methods(given: str) -> list[str]:
    """The methods that are named, each once.

    Raises:
        TensorpressError: there is none of a name.
    """
    named = options.read_names(given)
    unknown = [name for name in named if name not in (ALL, INT8, *COMPARED)]
    if unknown:
        raise TensorpressError(
            f"--methods {given}: there is no '{unknown[0]}'; there is {', '.join(COMPARED)}, "
            f"{ALL} for all of these, and {INT8}."
        )
    meant = (COMPARED if name == ALL else (name,) for name in named)
    return list(dict.fromkeys(itertools.chain.from_iterable(meant)))


def _told(row: Row) -> str:
    told = row.reason or f"{row.acc_before:.2f} % -> {row.acc:.2f} %"
    return f"{row.name} at FCR {row.budget:g}: {told}"


def _table(rows: list[Row], tables: list[PaperTable]) -> str:
    head = ("method", "FCR", "PCR", "before", "after", "dAcc", "ms", "dense ms", "seconds")
    measured = [_cells(row) for row in rows]
    printed = [_printed_cells(row) for table in tables for row in table.rows]
    lines = ruled(head, [*measured, *printed], right=range(1, len(head)))
    failed = [f"{row.name} at FCR {row.budget:g}: {row.reason}" for row in rows if row.reason]
    return "\n".join(["Methods at equal MACs", "", *lines, *failed])


def _cells(row: Row) -> tuple[str, ...]:
    if row.acc is None:
        return (row.name, f"{row.budget:g}", *"-------")
    assert None not in (row.fcr, row.pcr, row.milliseconds, row.milliseconds_dense)
    return (
        row.name,
        f"{row.fcr:.2f}",
        f"{row.pcr:.2f}",
        f"{row.acc_before:.2f} %",
        f"{row.acc:.2f} % ± {row.stderr:.2f}",
        f"{row.dacc:+.2f}",
        f"{row.milliseconds:.2f}",
        f"{row.milliseconds_dense:.2f}",
        f"{row.seconds:.1f}",
    )


def _printed_cells(row: PaperRow) -> tuple[str, ...]:
    fcr, pcr = ("-" if ratio is None else f"{ratio:.2f}" for ratio in (row.fcr, row.pcr))
    dacc = "-" if row.dacc is None else f"{row.dacc:+.2f}"
    return (f"{row.method}, printed", fcr, pcr, "-", "-", dacc, "-", "-", "-")
