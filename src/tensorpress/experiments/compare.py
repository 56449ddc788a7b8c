"""Decompositions and prunings side by side on one network and its data, at equal budgets."""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.artifacts.digest import digest
from tensorpress.compression.estimate import WORTH_TELLING, roughly, training_passes
from tensorpress.data import Dataset
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.errors import TensorpressError, first_line, shown
from tensorpress.experiments.comparison import DENSE, Comparison, Row
from tensorpress.experiments.contestant import measured, precisions
from tensorpress.experiments.int8 import CPU
from tensorpress.experiments.paper import tables_on
from tensorpress.files import read_json, write_whole
from tensorpress.graphs import is_graph_file
from tensorpress.progress import announce
from tensorpress.settings import flat, from_json
from tensorpress.surgery import fold_parametrizations
from tensorpress.training import evaluate
from tensorpress.training.network import file_digest

ROWS = "compare.json"
WEIGHTS = "weights"
"""What a comparison tells of itself since it tells its weights and data."""


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

    With ``what.int8`` each of them is a row in int8 as well, and so is the network as it is. A
    method that fails at a budget is a row with its reason, and is tried again the next time. Where
    the paper has a table on this network and data, the file holds its rows beside ours, under
    ``printed``.

    Args:
        name: of the network.
        net: with trained weights; it is not changed.
        on_row: hears of every row, also of those that were finished before.

    Raises:
        TensorpressError: the folder holds another comparison, or rows of weights and data that are
            not known, is damaged or cannot be written; or as `Comparison.refuse_impossible`.
    """
    what.refuse_impossible()
    asked = _asked(name, net, data, what)
    rows = _read(folder / ROWS, asked)
    if what.fold_parametrizations:
        net = fold_parametrizations(net)
    start = time.perf_counter()
    base = evaluate(net, data, place=CPU).percent
    image_seconds = (time.perf_counter() - start) / len(data.test)
    printed = [
        {"table": table.name, **dataclasses.asdict(row)}
        for table in tables_on(name, data.name)
        for row in table.rows
    ]
    count = sum(not _finished(rows, *pair, what) for pair in _pairs(what))
    seconds = count * row_passes(what, data) * image_seconds
    if seconds >= WORTH_TELLING:
        announce(
            f"about {roughly(seconds)} to fine-tune and evaluate {count} networks; to compress "
            "and to time them comes on top"
        )
    asked_for: list[Row] = []
    for method, budget in _pairs(what):
        found = _finished(rows, method, budget, what)
        if not found:
            before = [row for row in rows if (row.method, row.budget) == (method, budget)]
            common = Row(
                name, data.name, method, budget, acc_baseline=base, seed=what.seed,
                epochs=what.recipe.epochs if method != DENSE else 0,
                command=command, machine=machine("cpu"),
            )  # fmt: skip
            found = _measured(common, net, data, what, base)
            rows = [*(row for row in rows if row not in before), *found]
            content = {
                "asked": asked,
                "rows": [dataclasses.asdict(row) for row in rows],
                "printed": printed,
            }
            write_whole(folder / ROWS, json.dumps(content, indent=1) + "\n")
        for row in found:
            asked_for.append(row)
            if on_row is not None:
                on_row(row)
    return asked_for


def _measured(
    common: Row, net: nn.Module, data: Dataset, what: Comparison, base: float
) -> list[Row]:
    """The rows of a method at a budget; its failure, of whatever kind, is its result."""
    try:
        facts = measured(net, data, what, common.method, common.budget)
    except Exception as error:
        precision = precisions(common.method, what)[0]
        facts = [{"precision": precision, "reason": first_line(error)}]
    rows = [dataclasses.replace(common, **some) for some in facts]
    return [
        row if row.acc is None else dataclasses.replace(row, dacc=row.acc - base) for row in rows
    ]


def _finished(rows: list[Row], method: str, budget: float, what: Comparison) -> list[Row]:
    """The rows of a method at a budget, in the precisions that are asked for; all or none."""
    wanted = precisions(method, what)
    found = [row for row in rows if (row.method, row.budget) == (method, budget)]
    found = [row for row in found if row.precision in wanted and not row.reason]
    return found if len(found) == len(wanted) else []


def row_passes(what: Comparison, data: Dataset) -> float:
    """What fine-tuning and evaluating a network is worth in passes of an image through it."""
    trained = what.recipe.epochs * len(data.train) * training_passes(taught=what.teacher)
    evaluated = 2 * len(data.test)
    return trained + (2 * evaluated if what.int8 else evaluated)


def _pairs(what: Comparison) -> Iterator[tuple[str, float]]:
    if what.int8:
        yield DENSE, 1.0
    for budget in what.budgets:
        for method in what.methods:
            yield method, budget


def _asked(name: str, net: nn.Module, data: Dataset, what: Comparison) -> dict[str, Any]:
    """What sets a comparison apart, as JSON values: rows of two that differ in it stay apart."""
    settings = dataclasses.asdict(what)
    for key in ("methods", "budgets", "int8"):  # more of them may be asked for later
        del settings[key]
    origin = {"network": name, WEIGHTS: _fingerprint(name, net), "data": data.fingerprint()}
    asked: dict[str, Any] = json.loads(json.dumps(origin | settings))
    return asked


def _fingerprint(name: str, net: nn.Module) -> str:
    """SHA-256 of a network's weights, whatever file or code they come from.

    The layers of a file of ONNX do not hold all of its weights, and so that is part of it.
    """
    graph = {"graph": file_digest(Path(name))} if is_graph_file(name) else {}
    state = net.state_dict().items()
    return digest(graph, {key: value.cpu() for key, value in state if _has_bytes(value)})


def _has_bytes(value: Any) -> bool:
    """Whether it is a plain tensor; what else a network may keep is not read."""
    return type(value) is Tensor and value.layout == torch.strided and not value.is_quantized


def _read(path: Path, asked: dict[str, Any]) -> list[Row]:
    if not path.exists():
        return []
    way_out = "choose another folder, or delete it."
    content = read_json(path, way_out)
    try:
        held, rows = flat(_part(content, "asked", dict)), _part(content, "rows", list)
        rows = [from_json(Row, row, f"row {n}: ") for n, row in enumerate(rows, 1)]
    except (RecursionError, TensorpressError) as error:
        raise TensorpressError(f"{path} is damaged ({first_line(error)}): {way_out}") from error
    now = flat(asked)
    if WEIGHTS not in held:
        raise TensorpressError(
            f"{path} is from before a comparison told its weights and data, of which its rows may "
            f"be others: {way_out}"
        )
    others = {k: value for k, value in held.items() if k not in now or now[k] != value}
    if others:
        told = ", ".join(f"{key}={value}" for key, value in others.items())
        raise TensorpressError(
            f"{path.parent} holds another comparison, with {told}: choose another folder, or ask "
            "for the same."
        )
    return rows


def _part(content: Any, key: str, kind: type) -> Any:
    part = content.get(key) if isinstance(content, dict) else None
    if not isinstance(part, kind):
        raise TensorpressError(f"its {key} is {shown(part)}")
    return part
