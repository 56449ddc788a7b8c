"""One method at one budget: compressed, timed, fine-tuned and evaluated."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from rich.progress import TaskProgressColumn
from torch import nn

from tensorpress.choices import AUTO, INT8
from tensorpress.compression import CRITERIA, Budget, Request, prune
from tensorpress.data import Dataset, normalise
from tensorpress.deploy import Plan, interleaved_seconds, plan
from tensorpress.deploy.planning.table import OWN_DENSE
from tensorpress.errors import TensorpressError, first_line
from tensorpress.experiments.comparison import DENSE, Comparison
from tensorpress.experiments.int8 import CPU, accuracy_as_planned, in_int8
from tensorpress.progress import progress_bar
from tensorpress.surgery import Account, count
from tensorpress.training import Distillation, compress_for, evaluate
from tensorpress.training.distil import Teacher
from tensorpress.training.loop import fit

IMAGES_FOR_GRADIENTS = 1024
"""Training images that "taylor", which does nothing without, takes where no number is given."""
TIMED_ROUNDS = 50


def precisions(method: str, what: Comparison) -> list[str]:
    """What a method is measured in."""
    own = [] if method == DENSE else [AUTO]
    return [*own, INT8] if what.int8 else own


def measured(
    net: nn.Module, data: Dataset, what: Comparison, method: str, budget: float
) -> list[dict[str, Any]]:
    """What the rows of a method at a budget tell, one for each precision.

    Where a network is well but cannot be had in int8, that row tells the reason alone.

    Raises:
        TensorpressError: the method cannot do it.
    """
    model, cost = _made(net, data, what, method, budget)
    rows = [{"precision": precision} | cost for precision in precisions(method, what)]
    rows = [_with(row, partial(_as_made, net, model, data, what)) for row in rows]
    if what.recipe.epochs and method != DENSE:
        teacher = None
        if what.teacher:
            teacher = Teacher(net, Distillation(), data.input_shape)
        _fine_tune(model, data, what, teacher)
        rows = [_with(row, partial(_accuracy, model, data, what)) for row in rows]
    return rows


def _with(row: dict[str, Any], facts: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The row with what is known in its precision, or with why there is nothing."""
    if "reason" in row:
        return row
    try:
        return row | facts(row["precision"])
    except TensorpressError as error:
        if row["precision"] != INT8:
            raise
        return {"precision": INT8, "reason": first_line(error)}


def _made(
    net: nn.Module, data: Dataset, what: Comparison, method: str, budget: float
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, and what it costs."""
    if method == DENSE:
        cost = count(net, torch.zeros(1, *data.input_shape))
        unchanged = {"pcr": 1.0, "fcr": 1.0, "params": cost.params, "macs": cost.macs}
        return net, unchanged | {"seconds": 0.0}
    start = time.perf_counter()
    account = compressed(net, data, what, method, Budget(macs=budget))
    seconds = time.perf_counter() - start
    return account.model, {
        "pcr": account.pcr,
        "fcr": account.fcr,
        "params": account.params_after,
        "macs": account.macs_after,
        "seconds": seconds,
    }


def _as_made(
    net: nn.Module, model: nn.Module, data: Dataset, what: Comparison, precision: str
) -> dict[str, Any]:
    """Time and accuracy before fine-tuning."""
    planned = _planned(model, data, what, precision)
    taken, dense = _seconds(planned, net, data, what)
    facts = _accuracy(model, data, what, precision, planned)
    times = {"milliseconds": 1e3 * taken, "milliseconds_dense": 1e3 * dense}
    return facts | times | {"acc_before": facts["acc"]}


def _accuracy(
    model: nn.Module,
    data: Dataset,
    what: Comparison,
    precision: str,
    planned: Plan | None = None,
) -> dict[str, Any]:
    """On the test images; in int8 as the runtime computes it."""
    if precision == INT8:
        found = accuracy_as_planned(planned or _planned(model, data, what, INT8), data)
    else:
        found = evaluate(model, data, place=CPU)
    return {"acc": found.percent, "images": found.images, "stderr": found.stderr}


def _planned(net: nn.Module, data: Dataset, what: Comparison, precision: str = AUTO) -> Plan:
    inputs = torch.zeros(what.batch, *data.input_shape)
    where: dict[str, Any] = {"runtime": what.runtime, "threads": what.threads}
    if precision == INT8:
        return in_int8(net, data, inputs, seed=what.seed, **where)
    return plan(net, inputs, precision=precision, **where)


def _seconds(planned: Plan, net: nn.Module, data: Dataset, what: Comparison) -> tuple[float, float]:
    """Seconds of a forward pass as planned, and of ``net`` as the runtime runs it by itself."""
    whole = planned.table.whole
    if planned.table.rows:  # its layers were also measured as the dense kernels that they stand for
        return whole["plan"], whole[OWN_DENSE if OWN_DENSE in whole else "dense"]
    inputs = torch.zeros(what.batch, *data.input_shape)
    taken, dense = interleaved_seconds(
        [planned, _planned(net, data, what)], inputs, rounds=TIMED_ROUNDS
    )
    return taken, dense


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
    if method not in CRITERIA:
        request = Request(method=method, budget=budget, calibration=what.calibration())
        return compress_for(net, data, request)
    image = torch.zeros(1, *data.input_shape)
    if method != "taylor":
        return prune(net, image, method=method, budget=budget, seed=what.seed)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    some = data.train.subset(order[: what.calibration_images or IMAGES_FOR_GRADIENTS]).held()
    images = normalise(some.images, data.mean, data.std)
    return prune(net, image, method=method, budget=budget, images=images, labels=some.labels)
