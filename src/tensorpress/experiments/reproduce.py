"""Run the TTPWT rows of one of the paper's tables, at its ratios and at its thresholds."""

import dataclasses
from pathlib import Path

from tensorpress.compression import Budget, Request
from tensorpress.data import Dataset
from tensorpress.decompose import Energy
from tensorpress.errors import TensorpressError
from tensorpress.experiments.paper import PaperRow, PaperTable
from tensorpress.experiments.results import Result, read_results, result_of, write_results
from tensorpress.training import (
    Distillation,
    Network,
    Outcome,
    Recipe,
    Settings,
    recipes_for,
    run_scheme,
    train,
)

RESULTS = "results.json"


@dataclasses.dataclass(frozen=True)
class TableRun:
    """How to run a table.

    Attributes:
        folder: of all its runs, each of which resumes.
        network, data: what to train.
        epochs: of each phase; None takes the paper's.
        control: also train the baseline on for as long as fine-tuning takes.
        teacher: fine-tune with the baseline as the teacher.
        command: stands in the rows.
    """

    folder: Path
    network: Network
    data: Dataset
    epochs: int | None
    control: bool
    teacher: bool
    settings: Settings
    command: str


def points(row: PaperRow) -> dict[str, Request]:
    """The compressions that a printed TTPWT row asks for, by the name of the method."""
    if row.tau is None:
        return {}
    ratios = Budget(params=row.pcr, macs=row.fcr)
    return {
        f"TTPWT at {ratios}": Request(method="ttpwt", budget=ratios),
        f"TTPWT, eq. 14 at {row.tau:g}": Request(method="ttpwt", rank=Energy(row.tau)),
    }


def reproduce(table: PaperTable, asked: TableRun) -> list[Result]:
    """Train one baseline, then compress and fine-tune it for every TTPWT row of ``table``.

    The control is that baseline trained on by the recipe of fine-tuning. Each finished row is
    added to ``results.json`` in its folder; what was run before is only read.

    Raises:
        TensorpressError: as `tensorpress.training.run_scheme`.
    """
    if asked.epochs == 0 and not asked.network.is_trained:
        raise TensorpressError(
            "0 epochs and no weights would compress an untrained network; give weights, or epochs."
        )
    recipes = recipes_for(asked.network.name, paper=True)
    tuning = recipes.finetune.changed(epochs=asked.epochs)

    def train_dense(name: str, network: Network, recipe: Recipe) -> Outcome:
        folder = asked.folder / name
        return train(folder, network, asked.data, recipe, settings=asked.settings)

    baseline = train_dense("baseline", asked.network, recipes.train.changed(epochs=asked.epochs))
    dense = dataclasses.replace(asked.network, weights=baseline.folder / "baseline.pt")
    control = train_dense("control", dense, tuning).summary["acc"] if asked.control else None
    path = asked.folder / RESULTS
    for row in table.rows:
        for method, request in points(row).items():
            outcome = run_scheme(
                asked.folder / _folder_name(method),
                dense,
                asked.data,
                request,
                train=recipes.train.scaled(0),
                finetune=tuning,
                distillation=Distillation() if asked.teacher else None,
                settings=asked.settings,
            )
            if outcome.is_main:
                rows = {result.method: result for result in read_results(path)}
                if method not in rows or not outcome.was_finished:
                    rows[method] = result_of(outcome.summary, method, asked.command)
                if control is not None:
                    versus = rows[method].acc - control
                    rows[method] = dataclasses.replace(rows[method], dacc_vs_control=versus)
                write_results(path, list(rows.values()))
    return read_results(path)


def _folder_name(method: str) -> str:
    return "".join(c if c.isalnum() or c == "." else "-" for c in method).lower()
