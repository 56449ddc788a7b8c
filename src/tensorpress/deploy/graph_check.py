"""Two ONNX files with the same inputs and outputs, run side by side in ONNX Runtime."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tensorpress.counted import counted
from tensorpress.deploy.cause import first_cause
from tensorpress.errors import TensorpressError
from tensorpress.graphs.network import Structure, rows_of
from tensorpress.graphs.sessions import open_file

ROWS = 16

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class OutputDifference:
    """How far an output of a graph is from that of another.

    Attributes:
        name: of the output.
        error: the root of the mean squared difference over that of the output from its mean.
        largest: the largest difference over the largest value.
        agreement: the share of inputs of the same class; None of what gives no classes, (N, K).
        inputs: how many were compared.
    """

    name: str
    error: float
    largest: float
    agreement: float | None
    inputs: int

    def __str__(self) -> str:
        same = "" if self.agreement is None else f", agreement {100 * self.agreement:.2f} %"
        on = counted(self.inputs, "inputs")
        return f"output '{self.name}': relative error {self.error:.2g}{same} on {on}"


def compare_graphs(
    before: Path, after: Path, inputs: Sequence[Tensor], structure: Structure
) -> tuple[OutputDifference, ...]:
    """Run both on the same inputs.

    Args:
        inputs: in the order of the graphs' inputs, (N, ...) each that is batched.
        structure: of the first: how many go through at once, and which inputs have rows.

    Raises:
        TensorpressError: the second does not run, takes or gives other things, or gives NaN or inf
            where the first does not.
    """
    first, second = _session(before), _session(after)
    rows, batched = structure.batch, structure.batched
    size = rows or ROWS
    if len(inputs[0]) < (rows or 1):
        inputs = rows_of(inputs, batched, torch.arange(size) % len(inputs[0]))
    differences: list[_Running] | None = None
    for start in range(0, len(inputs[0]) - (rows or 1) + 1, size):
        part = rows_of(inputs, batched, slice(start, start + size))
        arrays = [tensor.contiguous().numpy() for tensor in part]
        try:
            wanted = first.run(None, _named(first, arrays))
        except Exception as error:
            raise TensorpressError(
                f"{before} does not run on these inputs ({first_cause(error)}); nothing was "
                "written."
            ) from error
        try:
            found = second.run(None, _named(second, arrays))
        except Exception as error:
            raise TensorpressError(
                f"the compressed graph does not run ({first_cause(error)}); nothing was written."
            ) from error
        if differences is None:
            differences = [_Running(value.name) for value in first.get_outputs()]
        for running, x, y in zip(differences, wanted, found, strict=True):
            running.add(np.asarray(x), np.asarray(y))
    return tuple(running.difference() for running in differences or [])


class _Running:
    """The sums of an output's differences over batches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.square = self.largest = self.top = self.values = self.total = 0.0
        self.squares = 0.0
        self.same = self.inputs = 0
        self.gives_classes = True

    def add(self, wanted: Array, found: Array) -> None:
        if wanted.shape != found.shape:
            raise TensorpressError(
                f"the compressed graph gives '{self.name}' in the shape {found.shape}, and the "
                f"original {wanted.shape}; nothing was written."
            )
        self.inputs += len(wanted) if wanted.ndim else 1
        self.gives_classes &= wanted.ndim == 2 and wanted.shape[1] > 1 and wanted.dtype.kind == "f"
        if self.gives_classes:
            self.same += int((wanted.argmax(1) == found.argmax(1)).sum())
        x, y = wanted.astype(np.float64), found.astype(np.float64)
        finite = np.isfinite(x)
        if not np.isfinite(y[finite]).all():
            raise TensorpressError(
                f"the compressed graph gives NaN or inf in '{self.name}' where the original does "
                "not; nothing was written."
            )
        x, y = x[finite], y[finite]
        if not x.size:
            return
        self.square += float(np.square(x - y).sum())
        self.largest = max(self.largest, float(np.abs(x - y).max()))
        self.top = max(self.top, float(np.abs(x).max()))
        self.values += x.size
        self.total += float(x.sum())
        self.squares += float(np.square(x).sum())

    def difference(self) -> OutputDifference:
        spread = self.squares - self.total**2 / max(self.values, 1.0)
        spread = spread if spread > 1e-12 * self.squares else self.squares
        return OutputDifference(
            self.name,
            math.sqrt(self.square / spread) if spread else float(self.square > 0),
            self.largest / (self.top or 1.0),
            self.same / self.inputs if self.gives_classes and self.inputs else None,
            self.inputs,
        )


def _named(session: Any, arrays: Sequence[Array]) -> dict[str, Array]:
    return dict(zip((value.name for value in session.get_inputs()), arrays, strict=True))


def _session(path: Path) -> Any:
    try:
        return open_file(path)
    except Exception as error:
        raise TensorpressError(
            f"ONNX Runtime does not take {path.name} ({first_cause(error)}); nothing was written."
        ) from error
