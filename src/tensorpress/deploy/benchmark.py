"""A network and its compressed form side by side: every runtime, batch size and thread count."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.aligned import ruled
from tensorpress.choices import AUTO, INT8
from tensorpress.cores import refuse_threads
from tensorpress.deploy.effort import Rounds
from tensorpress.deploy.feed import random_values
from tensorpress.deploy.graph_file import takes_alone
from tensorpress.deploy.int8 import Fidelity
from tensorpress.deploy.latency import Spread, holds, settled_spreads
from tensorpress.deploy.memory import peak_bytes
from tensorpress.deploy.planning.plan import Plan, plan
from tensorpress.deploy.planning.setting import find_runtime, read_precision, usable
from tensorpress.deploy.planning.table import PlanTable
from tensorpress.deploy.runtimes.runtime import timed_call
from tensorpress.deploy.runtimes.torch_place import threads as torch_threads
from tensorpress.deploy.trace import copy_for_export
from tensorpress.errors import TensorpressError, shown
from tensorpress.graphs import GraphNetwork
from tensorpress.progress import progress_bar
from tensorpress.rows import CalibrationImages
from tensorpress.settings import is_number

LEAST_ROUNDS, MOST_ROUNDS = 9, 200
SLOWER = 0.97
"""Below this ratio of speeds a cell is called slower; above it, noise may be all there is."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One runtime at one batch size and thread count.

    Attributes:
        runtime, version, batch, threads, precision: what was measured.
        own: the network before its compression as the runtime runs it by itself: in its own
            precision, in PyTorch also as it is called without a plan, whichever is faster.
        dense: the same in this precision.
        stored: the compressed one with its layers as they are stored, in this precision or in the
            runtime's own, whichever is faster.
        planned: the compressed one as its plan executes it.
        rounds: calls of each, in turns.
        dense_bytes, planned_bytes: by how much loading and one call raised the peak of the
            process's memory; None where the system does not tell.
        table: the plan, layer by layer.
        fidelity: in int8, how near the compressed network comes to itself in float32.
    """

    runtime: str
    version: str
    batch: int
    threads: int
    precision: str
    own: Spread
    dense: Spread
    stored: Spread
    planned: Spread
    rounds: int
    dense_bytes: int | None
    planned_bytes: int | None
    table: PlanTable
    fidelity: Fidelity | None = None

    @property
    def ratio(self) -> float:
        """How many times as fast as the dense network the planned one is, in the median.

        The faster of the dense ones: by itself, or in this precision.
        """
        return self.baseline.median / self.planned.median

    @property
    def least_ratio(self) -> float:
        """The same, or that of the fastest calls where it is less."""
        return min(self.ratio, self.baseline.best / self.planned.best)

    @property
    def own_ratio(self) -> float:
        """The same over the dense network as the runtime runs it by itself."""
        return self.own.median / self.planned.median

    @property
    def certain(self) -> bool:
        """Whether the medians and the fastest calls tell the same ratio, within a fifth."""
        return holds(self.ratio, self.baseline.best / self.planned.best)

    @property
    def is_slower(self) -> bool:
        """Than the dense network, or than itself as it is stored."""
        return min(self.ratio, self.stored.median / self.planned.median) < SLOWER

    @property
    def baseline(self) -> Spread:
        """The dense network by itself or in this precision, whichever is faster."""
        return min(self.own, self.dense, key=lambda spread: spread.median)

    @property
    def images_per_second(self) -> float:
        """Of the planned network."""
        return self.batch / self.planned.median

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("own", "dense", "stored", "planned"):
            values[name] = dataclasses.asdict(values[name])
        return values | {
            "ratio": self.ratio,
            "least_ratio": self.least_ratio,
            "own_ratio": self.own_ratio,
            "images_per_second": self.images_per_second,
            "table": self.table.to_dict(),
            "fidelity": self.fidelity and self.fidelity.to_dict(),
        }


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What was measured; prints as an aligned table.

    Attributes:
        cells: a row each.
        missing: why a runtime is not among them, by its name.
    """

    cells: tuple[Cell, ...]
    missing: Mapping[str, str]

    def __str__(self) -> str:
        head = (
            "runtime",
            "batch",
            "threads",
            "precision",
            "own ms",
            "dense ms",
            "stored ms",
            "planned ms",
            "spread",
            "speed",
            "over own",
            "images/s",
            "memory",
            "",
        )
        lines = ruled(head, [_row(cell) for cell in self.cells], right=(1, 2, *range(4, 13)))
        names: dict[str, list[str]] = {}
        for name, reason in self.missing.items():
            names.setdefault(reason, []).append(name)
        kept = dict.fromkeys(
            f"{cell.runtime} in {cell.precision}, held to float32: {cell.fidelity}"
            for cell in self.cells
            if cell.fidelity is not None
        )
        missing = (f"{', '.join(same)}: not measured: {why}" for why, same in names.items())
        return "\n".join([*lines, *kept, *missing])

    @property
    def slower(self) -> tuple[Cell, ...]:
        """Where the compressed network as planned is slower than it has to be."""
        return tuple(cell for cell in self.cells if cell.is_slower)


def benchmark(
    dense: nn.Module,
    compressed: nn.Module,
    input_shape: Sequence[int],
    *,
    runtimes: Sequence[str] = ("torch",),
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    precisions: Sequence[str] = (AUTO,),
    calibration: CalibrationImages | None = None,
    seconds: float = 4.0,
    cache: bool | str | os.PathLike[str] = True,
    progress: bool | None = None,
    input_dtype: torch.dtype = torch.float32,
) -> Benchmark:
    """Measure a network and its compressed form in turns, in one process, on random inputs.

    Args:
        input_shape: of one input, without the batch.
        runtimes, batches, threads, precisions: every combination is measured that there is.
        calibration: for int8, as in :func:`plan`.
        seconds: about how long each is measured, after planning; at least nine rounds.
        cache: of the plans, as in :func:`plan`.
        progress: as for :func:`plan`.
        input_dtype: of what the networks take; whole numbers are 0 and 1.

    Raises:
        TensorpressError: no such runtime, or none that is installed and can run the network.
    """
    dense, compressed = copy_for_export(dense), copy_for_export(compressed)
    for count in threads:
        refuse_threads(count)
    if not isinstance(input_dtype, torch.dtype) or input_dtype.is_complex:
        raise TensorpressError(
            f"input_dtype={shown(input_dtype)}: give a dtype of torch, such as torch.int64."
        )
    for precision in precisions:
        read_precision(precision)
    if not is_number(seconds) or seconds < 0:
        raise TensorpressError(f"seconds={shown(seconds)}: give a number from 0 on.")
    if INT8 in precisions and calibration is None:
        raise TensorpressError(
            "int8 needs images to read the ranges of values off: give a few hundred without labels "
            "as calibration= (--calibrate DIR)."
        )
    missing: dict[str, str] = {}
    present = []
    for name in dict.fromkeys(runtimes):
        find_runtime(name)
        found: list[str] = []
        for precision in precisions:
            try:
                found.append(usable(name, precision).precision)
            except TensorpressError as error:
                missing[_named(name, precision, precisions)] = str(error)
        present += [(name, precision) for precision in dict.fromkeys(found)]
    if not present:
        raise TensorpressError(_joined(missing) or "no runtime was named.")
    other = _not_taken((dense, compressed), batches)
    missing |= other
    batches = [batch for batch in batches if _batch_named(batch) not in other]
    if not batches:
        raise TensorpressError(f"{_joined(other)}: ask for that (--batches).")
    work = [(*which, b, t) for which in present for b in batches for t in threads]
    cells = []
    with progress_bar(show=progress) as bar:
        step = bar.add_task("measuring", total=len(work))
        for name, precision, batch, count in work:
            what = f"{name}, {precision}, batch {batch}, threads {count}"
            bar.update(step, description=what)
            inputs = random_values(
                (batch, *input_shape), input_dtype, torch.Generator().manual_seed(0)
            )
            making = partial(
                plan,
                example_inputs=inputs,
                runtime=name,
                threads=count,
                cache=cache,
                progress=False,
            )
            options: dict[str, Any] = {"precision": precision}
            if precision == INT8:
                options |= {"calibration": calibration, "min_agreement": 0.0}
            try:
                cells.append(
                    _cell(dense, compressed, inputs, making, partial(making, **options), seconds)
                )
            except TensorpressError as error:
                missing[_named(name, precision, precisions)] = str(error)
            bar.advance(step)
    if not cells:
        raise TensorpressError(_joined(missing))
    return Benchmark(tuple(cells), missing)


def _batch_named(batch: int) -> str:
    return f"batch {batch}"


def _not_taken(networks: Sequence[nn.Module], batches: Sequence[int]) -> dict[str, str]:
    """Why batches are not measured, which a file does not take, by what they are called."""
    batches_of = [net.structure.batch for net in networks if isinstance(net, GraphNetwork)]
    fixed = {batch for batch in batches_of if batch is not None}
    return {
        _batch_named(batch): takes_alone(taken)
        for taken in fixed
        for batch in batches
        if batch != taken
    }


def _named(runtime: str, precision: str, precisions: Sequence[str]) -> str:
    return runtime if len(precisions) == 1 else f"{runtime} in {precision}"


def _joined(missing: Mapping[str, str]) -> str:
    return "; ".join(reason.rstrip(".") for reason in missing.values())


def _cell(
    dense: nn.Module,
    compressed: nn.Module,
    inputs: Tensor,
    by_itself: Callable[[nn.Module], Plan],
    making: Callable[[nn.Module], Plan],
    seconds: float,
) -> Cell:
    """
    Args:
        by_itself: plans for the runtime's own precision.
        making: plans for that of the cell.
    """
    base, planned = making(dense), making(compressed)
    facts, count = planned.table.setting, planned.setting.threads
    runners = {
        "dense": [base.runner],
        "stored": [planned.executed(planned.stored)],
        "planned": [planned.runner],
    }
    if "own" in facts:
        small = by_itself(compressed)
        runners["own"] = [by_itself(dense).runner]
        runners["stored"].append(small.executed(small.stored))
    calls: list[Callable[[], object]] = []
    places: dict[str, list[int]] = {}
    for name, some in runners.items():
        places[name] = list(range(len(calls), len(calls) + len(some)))
        calls += [timed_call(runner, [inputs]) for runner in some]
    own = places.setdefault("own", list(places["dense"]))
    if base.runtime == "torch":  # as people call it, which may be the faster
        own.append(len(calls))
        calls.append(partial(_call_as_it_is, dense, inputs, count))
    rounds = Rounds(seconds / len(calls), LEAST_ROUNDS, MOST_ROUNDS).of(calls[0])
    spreads = settled_spreads(calls, rounds)
    fastest = {
        name: min((spreads[n] for n in numbers), key=lambda spread: spread.median)
        for name, numbers in places.items()
    }
    return Cell(
        runtime=base.runtime,
        version=str(facts["version"]),
        batch=len(inputs),
        threads=count,
        precision=base.setting.precision,
        **fastest,
        rounds=rounds,
        dense_bytes=peak_bytes(lambda: base.runner.reloaded()(inputs)),
        planned_bytes=peak_bytes(lambda: planned.runner.reloaded()(inputs)),
        table=planned.table,
        fidelity=planned.fidelity,
    )


def _call_as_it_is(net: nn.Module, inputs: Tensor, count: int) -> object:
    with torch_threads(count), torch.inference_mode():
        return net(inputs)


def _row(cell: Cell) -> tuple[str, ...]:
    spread = (cell.planned.high - cell.planned.low) / cell.planned.median
    memory = "-"
    if cell.dense_bytes is not None and cell.planned_bytes is not None:
        memory = f"{cell.dense_bytes / 2**20:.0f} -> {cell.planned_bytes / 2**20:.0f} MiB"
    return (
        cell.runtime,
        str(cell.batch),
        str(cell.threads),
        cell.precision,
        *(f"{1e3 * s.median:.2f}" for s in (cell.own, cell.dense, cell.stored, cell.planned)),
        f"{100 * spread:.0f} %",
        f"{cell.ratio:.2f}x",
        f"{cell.own_ratio:.2f}x",
        f"{cell.images_per_second:,.0f}",
        memory,
        _remark(cell),
    )


def _remark(cell: Cell) -> str:
    remarks = ["SLOWER"] if cell.is_slower else []
    if not cell.certain:
        remarks.append(f"UNCERTAIN: {cell.least_ratio:.2f}x at the least")
    return ", ".join(remarks)
