"""How long the networks take here: dense, as stored, as planned, and in int8."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from tensorpress.choices import AUTO, INT8
from tensorpress.deploy import Cell, benchmark, interleaved_seconds
from tensorpress.deploy.effort import effort
from tensorpress.deploy.planning.table import PlanRow
from tensorpress.errors import TensorpressError, first_line
from tensorpress.graphs import GraphNetwork
from tensorpress.rows import CalibrationImages
from tensorpress.surgery import count, run_examples

GRAPHS_RUN_IN = "onnxruntime"


@dataclass(frozen=True)
class Times:
    """Seconds of a forward pass of a batch on the CPU.

    Attributes:
        machine: where, in words.
        batch: inputs at a time.
        cells: the dense network and the compressed one side by side, in the runtime that is the
            usual one first; none where there is no compressed network.
        alone: median seconds of the dense network where it is alone.
        missing: why a runtime or precision was not measured, by its name.
    """

    machine: str
    batch: int
    cells: tuple[Cell, ...] = ()
    alone: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def first(self) -> Cell | None:
        """The usual runtime in its own precision."""
        return self.cells[0] if self.cells else None

    @property
    def by_layer(self) -> Mapping[str, PlanRow]:
        """What the usual runtime takes for each factorized layer that it can tell from others."""
        rows = self.first.table.rows if self.first else ()
        return {row.name: row for row in rows if row.seconds[row.chosen] and row.dense_seconds}


def measure(
    dense: nn.Module,
    small: nn.Module | None,
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float32,
    batch: int,
    machine: str,
    calibration: CalibrationImages | None = None,
) -> Times:
    """Time the networks in turns, in PyTorch, or files of ONNX in ONNX Runtime.

    Args:
        small: the compressed network; None where there is none.
        shape, dtype: of an input, the shape without the batch.
        calibration: images for int8; with them both are measured in ONNX Runtime, too, in its own
            precision and in int8.

    Raises:
        TensorpressError: a network that does not run on such inputs.
    """
    is_graph = isinstance(dense, GraphNetwork)
    fixed = dense.structure.batch if isinstance(dense, GraphNetwork) else None
    batch = fixed or batch
    for net in (dense, *(() if small is None else (small,))):
        # A network that does not run is refused in words.
        count(net, torch.zeros(fixed or 1, *shape, dtype=dtype))
        run_examples(net, torch.zeros(fixed or min(batch, 2), *shape, dtype=dtype))
    try:
        if small is None:
            (alone,) = interleaved_seconds([dense], torch.zeros(batch, *shape, dtype=dtype))
            return Times(machine, batch, alone=alone)
        cells, missing = list[Cell](), dict[str, str]()
        asked: dict[str, tuple[str, ...]] = {GRAPHS_RUN_IN if is_graph else "torch": (AUTO,)}
        if calibration is not None:
            asked[GRAPHS_RUN_IN] = (AUTO, INT8)
        for runtime, precisions in asked.items():
            try:
                found = benchmark(
                    dense,
                    small,
                    shape,
                    runtimes=[runtime],
                    batches=[batch],
                    threads=[torch.get_num_threads()],
                    precisions=precisions,
                    calibration=calibration,
                    seconds=effort().network.seconds,
                    input_dtype=dtype,
                )
            except TensorpressError as error:
                missing[runtime] = str(error)
            else:
                cells += found.cells
                missing |= found.missing
    except (RuntimeError, MemoryError) as error:
        raise TensorpressError(
            f"the network runs on one input, but not on a batch of {batch} ({first_line(error)}): "
            "give a smaller --batch."
        ) from error
    return Times(machine, batch, tuple(cells), missing=missing)
