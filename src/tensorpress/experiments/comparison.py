"""Decompositions and prunings side by side on one network and its data, at equal budgets."""

import copy
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import TaskProgressColumn
from torch import nn

from tensorpress.compression import CRITERIA, Budget, Request, prune
from tensorpress.compression.estimate import WORTH_TELLING, roughly, training_passes
from tensorpress.compression.request import Calibration
from tensorpress.data import Dataset, normalise
from tensorpress.deploy import Plan, interleaved_seconds, plan
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.errors import TensorpressError, first_line, shown
from tensorpress.experiments.paper import tables_on
from tensorpress.files import write_whole
from tensorpress.layers import DECOMPOSITIONS
from tensorpress.layers.methods import AUTO
from tensorpress.progress import announce, progress_bar
from tensorpress.surgery import Account
from tensorpress.training import Distillation, Place, Recipe, compress_for, evaluate
from tensorpress.training.distil import Teacher
from tensorpress.training.loop import fit

ROWS = "compare.json"
COMPARED = (AUTO, *DECOMPOSITIONS, *CRITERIA)
"""What can be compared: the best of all for each layer, decompositions, criteria to prune by."""
IMAGES_FOR_GRADIENTS = 1024
"""Training images that "taylor", which does nothing without, takes where no number is given."""
TIMED_ROUNDS = 50
CPU = Place(torch.device("cpu"))
"""Where all of it is done, which the milliseconds are of."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        methods: by name, of decompositions and of criteria to prune by.
        budgets: MAC ratios (FCR) to reach.
        recipe: of the fine-tuning, the same for all; 0 epochs is none.
        teacher: fine-tune with the dense network as the teacher.
        calibration_images: training images to compress with, which decompositions take without
            their labels and "taylor" with them; 0 is without, but for 1,024 for "taylor".
        runtime, threads, batch: what milliseconds are measured in.
        seed: of the images' order and augmentation.
    """

    methods: tuple[str, ...]
    budgets: tuple[float, ...]
    recipe: Recipe
    teacher: bool = False
    calibration_images: int = 0
    runtime: str = "torch"
    threads: int = 1
    batch: int = 1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """One method at one budget.

    Attributes:
        network, data, method, budget: what was done; the budget is the FCR asked for.
        pcr, fcr, params, macs: what it came to.
        acc_baseline, acc_before, acc: accuracy on the test images in percent, of the dense network,
            right after compression and after ``epochs`` of fine-tuning.
        dacc: ``acc - acc_baseline``, in points.
        images, stderr: behind ``acc``, and its standard error in points.
        milliseconds, milliseconds_dense: of a forward pass as planned, and of the dense network.
        seconds: that the compression took.
        reason: why there are no figures, where the method failed; they are None then.
    """

    network: str
    data: str
    method: str
    budget: float
    pcr: float | None = None
    fcr: float | None = None
    params: int | None = None
    macs: int | None = None
    acc_baseline: float | None = None
    acc_before: float | None = None
    acc: float | None = None
    dacc: float | None = None
    images: int | None = None
    stderr: float | None = None
    epochs: int = 0
    seed: int = 0
    milliseconds: float | None = None
    milliseconds_dense: float | None = None
    seconds: float | None = None
    reason: str = ""
    command: str = ""
    machine: str = ""


def compare(
    name: str,
    net: nn.Module,
    data: Dataset,
    what: Comparison,
    folder: Path,
    *,
    command: str = "",
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Every method at every budget; finished rows stand in ``folder`` and are not done again.

    A method that fails at a budget is a row with its reason, and is tried again the next time.
    Where the paper has a table on this network and data, the file holds its rows beside ours, under
    ``printed``.

    Args:
        name: of the network.
        net: with trained weights; it is not changed.
        on_row: hears of every row, also of those that were finished before.

    Raises:
        TensorpressError: the folder holds another comparison, is damaged or cannot be written.
    """
    settings = {"network": name, "data": data.name, **dataclasses.asdict(what)}
    for key in ("methods", "budgets"):  # more of them may be asked for later
        del settings[key]
    asked = json.loads(json.dumps(settings))
    rows = _read(folder / ROWS, asked)
    start = time.perf_counter()
    base = evaluate(net, data, place=CPU).percent
    image_seconds = (time.perf_counter() - start) / len(data.test)
    printed = [
        {"table": table.name, **dataclasses.asdict(row)}
        for table in tables_on(name, data.name)
        for row in table.rows
    ]
    finished = {(row.method, row.budget) for row in rows if not row.reason}
    count = sum(pair not in finished for pair in _pairs(what))
    seconds = count * row_passes(what, data) * image_seconds
    if seconds >= WORTH_TELLING:
        announce(
            f"about {roughly(seconds)} to fine-tune and evaluate {count} networks; to compress "
            "and to time them comes on top"
        )
    asked_for: list[Row] = []
    for method, budget in _pairs(what):
        before = [row for row in rows if (row.method, row.budget) == (method, budget)]
        found = next((row for row in before if not row.reason), None)
        if found is None:
            common = Row(
                name, data.name, method, budget, epochs=what.recipe.epochs, seed=what.seed,
                command=command, machine=machine("cpu"),
            )  # fmt: skip
            try:
                facts = _measured(net, data, what, method, budget, base)
                found = dataclasses.replace(common, **facts)
            except Exception as error:  # one method's failure, of whatever kind, is its result
                found = dataclasses.replace(common, reason=first_line(error))
            rows = [*(row for row in rows if row not in before), found]
            measured = [dataclasses.asdict(row) for row in rows]
            content = {"asked": asked, "rows": measured, "printed": printed}
            write_whole(folder / ROWS, json.dumps(content, indent=1) + "\n")
        asked_for.append(found)
        if on_row is not None:
            on_row(found)
    return asked_for


def row_passes(what: Comparison, data: Dataset) -> float:
    """What fine-tuning and evaluating a network is worth in passes of an image through it."""
    trained = what.recipe.epochs * len(data.train) * training_passes(taught=what.teacher)
    return trained + 2 * len(data.test)


def _pairs(what: Comparison) -> Iterator[tuple[str, float]]:
    for budget in what.budgets:
        for method in what.methods:
            yield method, budget


def _measured(
    net: nn.Module, data: Dataset, what: Comparison, method: str, budget: float, base: float
) -> dict[str, Any]:
    start = time.perf_counter()
    account = compressed(net, data, what, method, Budget(macs=budget))
    seconds = time.perf_counter() - start
    model = account.model
    before = evaluate(model, data, place=CPU).percent
    taken, taken_dense = _milliseconds(net, model, data, what)
    if what.recipe.epochs:
        teacher = None
        if what.teacher:
            teacher = Teacher(copy.deepcopy(net), Distillation(), data.input_shape)
        _fine_tune(model, data, what, teacher)
    after = evaluate(model, data, place=CPU)
    return {
        "pcr": account.pcr,
        "fcr": account.fcr,
        "params": account.params_after,
        "macs": account.macs_after,
        "acc_baseline": base,
        "acc_before": before,
        "acc": after.percent,
        "dacc": after.percent - base,
        "images": after.images,
        "stderr": after.stderr,
        "milliseconds": taken,
        "milliseconds_dense": taken_dense,
        "seconds": seconds,
    }


def _fine_tune(model: nn.Module, data: Dataset, what: Comparison, teacher: Teacher | None) -> None:
    with progress_bar(TaskProgressColumn()) as bar:
        task = bar.add_task("fine-tuning", total=what.recipe.epochs)
        done = 0

        def on_step(steps: int, of: int) -> None:
            bar.update(task, completed=done + steps / of)

        for epoch in fit(
            model,
            data,
            what.recipe,
            seed=what.seed,
            phase="finetune",
            teacher=teacher,
            place=CPU,
            on_step=on_step,
        ):
            done = epoch.epoch + 1


def compressed(
    net: nn.Module, data: Dataset, what: Comparison, method: str, budget: Budget
) -> Account:
    """``net`` compressed by a method, whichever of :data:`COMPARED` it is.

    Raises:
        TensorpressError: as `tensorpress.compress` and `tensorpress.prune`.
    """
    most = what.calibration_images
    if method not in CRITERIA:
        calibration = Calibration(most) if most else None
        request = Request(method=method, budget=budget, calibration=calibration)
        return compress_for(net, data, request)
    image = torch.zeros(1, *data.input_shape)
    if method != "taylor":
        return prune(net, image, method=method, budget=budget, seed=what.seed)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    some = data.train.subset(order[: most or IMAGES_FOR_GRADIENTS]).held()
    images = normalise(some.images, data.mean, data.std)
    return prune(net, image, method=method, budget=budget, images=images, labels=some.labels)


def _milliseconds(
    net: nn.Module, model: nn.Module, data: Dataset, what: Comparison
) -> tuple[float, float]:
    """Of a forward pass of ``model`` as planned, and of ``net``."""
    inputs = torch.zeros(what.batch, *data.input_shape)

    def planned(network: nn.Module) -> Plan:
        return plan(network, inputs, runtime=what.runtime, threads=what.threads)

    timed = planned(model)
    if timed.table.rows:  # its layers were also measured as the dense kernels that they stand for
        return 1e3 * timed.table.whole["plan"], 1e3 * timed.table.whole["dense"]
    taken, dense = interleaved_seconds([timed, planned(net)], inputs, rounds=TIMED_ROUNDS)
    return 1e3 * taken, 1e3 * dense


def _read(path: Path, asked: dict[str, Any]) -> list[Row]:
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row) for row in content["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TensorpressError(
            f"{path} is damaged ({shown(error, 200)}): choose another folder."
        ) from error
    others = {k: v for k, v in content["asked"].items() if asked.get(k) != v}
    if others:
        told = ", ".join(f"{key}={value}" for key, value in others.items())
        raise TensorpressError(
            f"{path.parent} holds another comparison, with {told}: choose another folder, or ask "
            "for the same."
        )
    return rows
