"""Run our rows of one table: TTPWT as printed, calibrated, and the best form of each layer."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorpress import artifacts
from tensorpress.choices import AUTO
from tensorpress.compression import Budget, Request
from tensorpress.data import Dataset
from tensorpress.decompose import Energy
from tensorpress.errors import TensorpressError
from tensorpress.experiments.int8 import accuracy_in_int8, refuse_without_int8
from tensorpress.experiments.paper import PaperTable
from tensorpress.experiments.results import Result, read_results, result_of, write_results
from tensorpress.experiments.wording import DENSE, control_of, method_of, name_of, recipe_of
from tensorpress.request.request import Calibration
from tensorpress.training import (
    Ahead,
    Distillation,
    Network,
    Outcome,
    Recipe,
    RunProspect,
    Settings,
    find_place,
    run_scheme,
    train,
)
from tensorpress.training.compression import check_for
from tensorpress.training.run_folder import SUMMARY

RESULTS = "results.json"


@dataclasses.dataclass(frozen=True)
class TableRun:
    """How to run a table.

    Attributes:
        folder: of all its runs, each of which resumes.
        network, data: what to train.
        train: the recipe of the baseline; 0 epochs take the network's weights as they are.
        finetune: that of fine-tuning, for every row and for the control.
        control: also train the baseline on for as long as fine-tuning takes.
        teacher: fine-tune with the baseline as the teacher.
        calibration_images: training images of the rows that are calibrated; 0 leaves these out.
        int8: also measure every network in int8.
        command: stands in the rows.
    """

    folder: Path
    network: Network
    data: Dataset
    train: Recipe
    finetune: Recipe
    control: bool
    teacher: bool
    calibration_images: int
    int8: bool
    settings: Settings
    command: str

    @property
    def distillation(self) -> Distillation | None:
        return Distillation() if self.teacher and self.finetune.epochs else None

    def method_of(self, request: Request) -> str:
        """The method of a row."""
        return method_of(request, self.distillation)


def points(table: PaperTable, calibration_images: int = 0) -> Iterator[Request]:
    """The compressions that a table asks for.

    At the ratios of a printed TTPWT row and at its threshold, and at the table's further ratios;
    with images also calibrated, by TTPWT and by the best form of each layer.
    """
    calibration = Calibration(calibration_images) if calibration_images else None
    printed = [(row.pcr, row.fcr, row.tau) for row in table.rows if row.tau is not None]
    for pcr, fcr, tau in [*printed, *((*ratios, None) for ratios in table.ratios)]:
        ratios = Budget(params=pcr, macs=fcr)
        yield Request(method="ttpwt", budget=ratios)
        if tau is not None:
            yield Request(method="ttpwt", rank=Energy(tau))
        if calibration is not None:
            yield Request(method="ttpwt", budget=ratios, calibration=calibration)
            yield Request(method=AUTO, budget=ratios, calibration=calibration)


def reproduce(table: PaperTable, asked: TableRun) -> list[Result]:
    """Train one baseline, or take it, then compress and fine-tune it for every row of `points`.

    The control is that baseline trained on by the recipe of fine-tuning. Each finished row is
    added to ``results.json`` in its folder; what was run before is only read.

    Raises:
        TensorpressError: as `tensorpress.training.run_scheme`.
    """
    _check(table, asked)
    rows = Rows(asked.folder / RESULTS)
    baseline = _dense(asked, "baseline", asked.network, asked.train, _later(table, asked))
    dense = dataclasses.replace(asked.network, weights=baseline.folder / "baseline.pt")
    origin = asked.network.origin(asked.train.epochs)
    facts = {**baseline.summary, "pcr": 1.0, "fcr": 1.0, "epochs": 0, "baseline": origin}
    facts |= {"acc_baseline": facts["acc"], "dacc": 0.0}
    unchanged = result_of(facts, DENSE, "", asked.command)
    if asked.int8 and baseline.is_main:
        rows.add_int8(unchanged, baseline, asked)
    control = None
    if asked.control:
        outcome = _dense(asked, "control", dense, asked.finetune)
        control = outcome.summary["acc"]
        if outcome.is_main:
            facts = {**facts, **outcome.summary, "baseline": origin}
            rows.add(_finetuned(asked, facts, control_of(asked.finetune)), outcome)
    for request in points(table, asked.calibration_images):
        outcome = run_scheme(
            asked.folder / _folder_name(asked, request),
            dense,
            asked.data,
            request,
            train=asked.train.scaled(0),
            finetune=asked.finetune,
            distillation=asked.distillation,
            settings=asked.settings,
        )
        if not outcome.is_main:
            continue
        facts = {**outcome.summary, "baseline": origin}
        row = rows.add(_finetuned(asked, facts, asked.method_of(request)), outcome, control)
        if asked.int8:
            rows.add_int8(row, outcome, asked)
    return read_results(asked.folder / RESULTS)


def _check(table: PaperTable, asked: TableRun) -> None:
    """Raise for what would end the table after rows of it have been trained."""
    if asked.train.epochs == 0 and not asked.network.is_trained:
        raise TensorpressError(
            "0 epochs and no weights would compress an untrained network; give weights, or epochs."
        )
    if asked.int8:
        refuse_without_int8()
    net = asked.network.make(asked.settings.seed)
    data = asked.settings.split(asked.data)
    for request in points(table, asked.calibration_images):
        if not (asked.folder / _folder_name(asked, request) / SUMMARY).exists():
            check_for(net, data, request)


def foresee_table(table: PaperTable, asked: TableRun) -> RunProspect:
    """What :func:`reproduce` would do; its settings are those of a dry run.

    What the baseline would take is told by its first steps, and so is what is trained after it.

    Raises:
        TensorpressError: what `reproduce` refuses before it begins.
    """
    _check(table, asked)
    known = {row.name for row in read_results(asked.folder / RESULTS)}
    later = _later(table, asked)
    prospect = _dense(asked, "baseline", asked.network, asked.train, later).prospect
    assert prospect is not None
    finished = prospect.finished and not later and known >= {*_names(table, asked)}
    return dataclasses.replace(prospect, finished=finished)


def _names(table: PaperTable, asked: TableRun) -> Iterator[str]:
    """What the rows of the finished table are called."""
    processes = find_place(asked.settings.device).world
    recipe = recipe_of(asked.finetune, asked.settings, processes)
    if asked.control:
        yield name_of(control_of(asked.finetune), recipe)
    if asked.int8:
        yield name_of(DENSE, "", is_int8=True)
    for request in points(table, asked.calibration_images):
        for is_int8 in {False, asked.int8}:
            yield name_of(asked.method_of(request), recipe, is_int8=is_int8)


def _later(table: PaperTable, asked: TableRun) -> list[Ahead]:
    """What is to be trained after the baseline."""
    requests = points(table, asked.calibration_images)
    names = [_folder_name(asked, request) for request in requests]
    phases = [Ahead(name, asked.finetune, taught=asked.teacher) for name in names]
    phases = [*([Ahead("control", asked.finetune)] if asked.control else []), *phases]
    return [phase for phase in phases if not (asked.folder / phase.name / SUMMARY).exists()]


class Rows:
    """The finished rows of a table, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = {row.name: row for row in read_results(path)}

    def add(self, row: Result, outcome: Outcome, control: float | None = None) -> Result:
        """Keep ``row``, or what was kept of a run that was finished before."""
        if outcome.was_finished:
            row = self.found.get(row.name, row)
        return self._keep(row if control is None else row.against(control))

    def add_int8(self, row: Result, outcome: Outcome, asked: TableRun) -> None:
        """Keep the row of the same network in int8, measured once."""
        known = self.found.get(dataclasses.replace(row, is_int8=True).name)
        if known is None or not outcome.was_finished:
            net = artifacts.load(outcome.model_file, into=asked.network.build())
            known = row.in_int8(accuracy_in_int8(net, asked.data))
        elif row.dacc_vs_control is not None:
            known = known.against(row.acc - row.dacc_vs_control)
        self._keep(known)

    def _keep(self, row: Result) -> Result:
        self.found[row.name] = row
        write_results(self.path, list(self.found.values()))
        return row


def _dense(
    asked: TableRun, name: str, network: Network, recipe: Recipe, then: Sequence[Ahead] = ()
) -> Outcome:
    folder = asked.folder / name
    return train(folder, network, asked.data, recipe, then=then, settings=asked.settings)


def _finetuned(asked: TableRun, facts: dict[str, Any], method: str) -> Result:
    recipe = recipe_of(asked.finetune, asked.settings, facts["processes"])
    return result_of(facts, method, recipe, asked.command)


def _folder_name(asked: TableRun, request: Request) -> str:
    recipe = recipe_of(asked.finetune, asked.settings)
    name = name_of(asked.method_of(request), recipe)
    return "".join(c if c.isalnum() or c == "." else "-" for c in name).lower()
