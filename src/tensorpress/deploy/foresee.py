"""What an export would write, before it is begun."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tensorpress.choices import FLOOR, INT8
from tensorpress.deploy.exportable import read_exportable
from tensorpress.files import refuse_no_file, refuse_unwritable
from tensorpress.surgery import ExampleInputs
from tensorpress.surgery.state import held_bytes

IN_INT8 = 4
"""How many times smaller weights are in int8 than in float32."""


@dataclass(frozen=True)
class ExportProspect:
    """What an export would do; prints as lines.

    Attributes:
        path, format, precision: of the file.
        planned: whether its layers would be measured, and written in their fastest executions.
        bytes: of the file, about; None where it depends on what is measured.
        versions: of PyTorch and of what would write and run it, by name.
    """

    path: Path
    format: str
    precision: str
    planned: bool
    bytes: int | None
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {**vars(self), "path": str(self.path)}

    def __str__(self) -> str:
        how = "as they are measured to be the fastest" if self.planned else "as they are stored"
        size = "depends on which executions are the fastest"
        if self.bytes is not None:
            size = f"about {self.bytes:,} bytes"
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return "\n".join(
            [
                f"{self.format} in {self.precision}, layers {how}",
                "time: not estimated",
                f"size: {size}",
                f"with: {versions}",
            ]
        )


def foresee_export(
    model: nn.Module,
    path: Path | str,
    example_inputs: ExampleInputs,
    *,
    format: str | None = None,
    dynamic_batch: bool = True,
    check_inputs: ExampleInputs | None = None,
    precision: str = "f32",
    calibrated: bool = False,
    min_agreement: float = FLOOR,
    keep_float: Iterable[str] = (),
    planned: bool | None = None,
) -> ExportProspect:
    """Check what :func:`tensorpress.export` checks before it begins, and tell what it would write.

    Args:
        calibrated: whether there are images for int8; the others as for `tensorpress.export`.

    Raises:
        TensorpressError: what `tensorpress.export` refuses before it begins, or a file that could
            not be written.
    """
    ready = read_exportable(
        model,
        path,
        example_inputs,
        format=format,
        dynamic_batch=dynamic_batch,
        check_inputs=check_inputs,
        precision=precision,
        calibrated=calibrated,
        min_agreement=min_agreement,
        keep_float=keep_float,
        planned=planned,
    )
    refuse_no_file(ready.path)
    refuse_unwritable(ready.path.parent, str(ready.path))
    stored = held_bytes(ready.net)
    size = None if ready.planned else stored // IN_INT8 if precision == INT8 else stored
    return ExportProspect(
        ready.path, ready.kind.name, precision, ready.planned, size, ready.versions
    )
