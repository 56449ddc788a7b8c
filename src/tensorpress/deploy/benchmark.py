"""A network and its compressed form side by side: every runtime, batch size and thread count."""

import dataclasses
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.aligned import ruled
from tensorpress.deploy.effort import Rounds
from tensorpress.deploy.latency import interleaved_times
from tensorpress.deploy.memory import peak_bytes
from tensorpress.deploy.planning.plan import Plan, find_runtime, plan, read_setting, usable
from tensorpress.deploy.planning.table import PlanTable
from tensorpress.deploy.runtimes.runtime import timed_call
from tensorpress.deploy.runtimes.torch_place import threads as torch_threads
from tensorpress.deploy.trace import copy_for_export
from tensorpress.errors import TensorpressError
from tensorpress.progress import progress_bar

LEAST_ROUNDS, MOST_ROUNDS = 9, 200
SLOWER = 0.97
"""Below this ratio of speeds a cell is called slower; above it, noise may be all there is."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """Seconds of a call: the median, and the quartiles beside it."""

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """One runtime at one batch size and thread count.

    Attributes:
        runtime, version, batch, threads, precision: what was measured.
        dense: the network before its compression, in the fastest of the runtime's own settings.
        stored: the compressed one with its layers as they are stored.
        planned: the compressed one as its plan executes it.
        rounds: calls of each, in turns.
        dense_bytes, planned_bytes: by how much loading and one call raised the peak of the
            process's memory; None where the system does not tell.
        table: the plan, layer by layer.
    """

    runtime: str
    version: str
    batch: int
    threads: int
    precision: str
    dense: Spread
    stored: Spread
    planned: Spread
    rounds: int
    dense_bytes: int | None
    planned_bytes: int | None
    table: PlanTable

    @property
    def ratio(self) -> float:
        """How many times as fast as the dense network the planned one is, in the median."""
        return self.dense.median / self.planned.median

    @property
    def images_per_second(self) -> float:
        """Of the planned network."""
        return self.batch / self.planned.median

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("dense", "stored", "planned"):
            values[name] = dataclasses.asdict(values[name])
        return values | {
            "ratio": self.ratio,
            "images_per_second": self.images_per_second,
            "table": self.table.to_dict(),
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
            "dense ms",
            "stored ms",
            "planned ms",
            "spread",
            "speed",
            "images/s",
            "memory",
            "",
        )
        lines = ruled(head, [_row(cell) for cell in self.cells], right=range(1, 10))
        return "\n".join([*lines, *(f"{n}: not measured: {w}" for n, w in self.missing.items())])

    @property
    def slower(self) -> tuple[Cell, ...]:
        """Where the compressed network is slower than the dense one."""
        return tuple(cell for cell in self.cells if cell.ratio < SLOWER)


def benchmark(
    dense: nn.Module,
    compressed: nn.Module,
    input_shape: Sequence[int],
    *,
    runtimes: Sequence[str] = ("torch",),
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    precision: str = "f32",
    seconds: float = 4.0,
    cache: bool | str | os.PathLike[str] = True,
    progress: bool | None = None,
) -> Benchmark:
    """Measure a network and its compressed form in turns, in one process, on random inputs.

    Args:
        input_shape: of one input, without the batch.
        runtimes, batches, threads: every combination is measured.
        seconds: about how long each is measured, after planning; at least nine rounds.
        cache: of the plans, as in :func:`plan`.
        progress: as for :func:`plan`.

    Raises:
        TensorpressError: no such runtime, or none that is installed and can run the network.
    """
    dense, compressed = copy_for_export(dense), copy_for_export(compressed)
    for count in threads:
        read_setting(count, precision)
    missing: dict[str, str] = {}
    present = []
    for name in dict.fromkeys(runtimes):
        find_runtime(name)
        try:
            usable(name, precision)
            present.append(name)
        except TensorpressError as error:
            missing[name] = str(error)
    if not present:
        raise TensorpressError(_joined(missing) or "no runtime was named.")
    work = [(name, b, t) for name in present for b in batches for t in threads]
    cells = []
    with progress_bar(show=progress) as bar:
        step = bar.add_task("measuring", total=len(work))
        for name, batch, count in work:
            bar.update(step, description=f"{name}, batch {batch}, threads {count}")
            inputs = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
            making = partial(
                plan,
                example_inputs=inputs,
                runtime=name,
                threads=count,
                precision=precision,
                cache=cache,
                progress=False,
            )
            try:
                cells.append(_cell(dense, compressed, inputs, making, seconds))
            except TensorpressError as error:
                missing[name] = str(error)
            bar.advance(step)
    if not cells:
        raise TensorpressError(_joined(missing))
    return Benchmark(tuple(cells), missing)


def _joined(missing: Mapping[str, str]) -> str:
    return "; ".join(reason.rstrip(".") for reason in missing.values())


def _cell(
    dense: nn.Module,
    compressed: nn.Module,
    inputs: Tensor,
    making: Callable[..., Plan],
    seconds: float,
) -> Cell:
    base, planned = making(dense), making(compressed)
    facts, count = planned.table.setting, planned.setting.threads
    calls: list[Callable[[], object]] = [
        timed_call(runner, [inputs])
        for runner in (base.runner, planned.executed(planned.stored), planned.runner)
    ]
    if base.runtime == "torch":  # as people call it, which may be the faster
        calls.append(partial(_call_as_it_is, dense, inputs, count))
    rounds = Rounds(seconds / len(calls), LEAST_ROUNDS, MOST_ROUNDS).of(calls[0])
    spreads = [_spread(taken) for taken in interleaved_times(calls, rounds)]
    return Cell(
        runtime=base.runtime,
        version=str(facts["version"]),
        batch=len(inputs),
        threads=count,
        precision=base.setting.precision,
        dense=min((spreads[0], *spreads[3:]), key=lambda spread: spread.median),
        stored=spreads[1],
        planned=spreads[2],
        rounds=rounds,
        dense_bytes=peak_bytes(lambda: base.executed(base.choice)(inputs)),
        planned_bytes=peak_bytes(lambda: planned.executed(planned.choice)(inputs)),
        table=planned.table,
    )


def _call_as_it_is(net: nn.Module, inputs: Tensor, count: int) -> object:
    with torch_threads(count), torch.inference_mode():
        return net(inputs)


def _spread(taken: Sequence[float]) -> Spread:
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Spread(median, low, high)


def _row(cell: Cell) -> tuple[str, ...]:
    spread = (cell.planned.high - cell.planned.low) / cell.planned.median
    memory = "-"
    if cell.dense_bytes is not None and cell.planned_bytes is not None:
        memory = f"{cell.dense_bytes / 2**20:.0f} -> {cell.planned_bytes / 2**20:.0f} MiB"
    return (
        cell.runtime,
        str(cell.batch),
        str(cell.threads),
        *(f"{1e3 * s.median:.2f}" for s in (cell.dense, cell.stored, cell.planned)),
        f"{100 * spread:.0f} %",
        f"{cell.ratio:.2f}x",
        f"{cell.images_per_second:,.0f}",
        memory,
        "SLOWER" if cell.ratio < SLOWER else "",
    )
