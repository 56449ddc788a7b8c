"""What an export would write, before it is begun."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorpress.choices import INT8
from tensorpress.deploy.exportable import Exportable
from tensorpress.files import refuse_no_file, refuse_unwritable
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


def foresee_export(ready: Exportable) -> ExportProspect:
    """What :func:`tensorpress.export` would write of what :func:`read_exportable` has checked.

    Raises:
        TensorpressError: a file that could not be written.
    """
    refuse_no_file(ready.path)
    refuse_unwritable(ready.path.parent, str(ready.path))
    stored = held_bytes(ready.net)
    size = None if ready.planned else stored // IN_INT8 if ready.precision == INT8 else stored
    return ExportProspect(
        ready.path, ready.kind.name, ready.precision, ready.planned, size, ready.versions
    )
