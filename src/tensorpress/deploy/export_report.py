"""What an export wrote, and how equal it is."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tensorpress.deploy.check import Check
from tensorpress.deploy.int8 import Fidelity
from tensorpress.deploy.planning.table import PlanTable


@dataclass(frozen=True)
class ExportReport:
    """A written and checked file; prints as aligned lines.

    Attributes:
        path: of the file.
        format: "onnx", "pt2" or "openvino".
        bytes: of the file, and of those that belong to it.
        checks: a row per comparison with PyTorch; none of a file in int8.
        fidelity: of a file in int8, how near its answers come to those of the network in float32,
            by what they were given.
        int8_layers: how many of its layers compute in int8, and how many there are.
        versions: of PyTorch and of what wrote and ran the file, by name.
        plan: of a file that was planned, how its layers are executed.
    """

    path: Path
    format: str
    bytes: int
    checks: tuple[Check, ...]
    versions: dict[str, str]
    fidelity: dict[str, Fidelity] = field(default_factory=dict)
    int8_layers: tuple[int, int] | None = None
    plan: PlanTable | None = None

    @property
    def worst(self) -> float:
        """The largest difference of all checks, relative to the largest output; in int8 the largest
        relative error.
        """
        errors = [check.difference for check in self.checks]
        return max(errors + [found.error for found in self.fidelity.values()])

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "path": str(self.path),
            "format": self.format,
            "bytes": self.bytes,
            "checks": [asdict(check) for check in self.checks],
            "fidelity": {name: found.to_dict() for name, found in self.fidelity.items()},
            "int8_layers": self.int8_layers,
            "versions": self.versions,
            "plan": self.plan and self.plan.to_dict(),
        }

    def __str__(self) -> str:
        cells = [
            (check.inputs, ", ".join("x".join(map(str, shape)) for shape in check.shapes))
            for check in self.checks
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        equal = [
            f"{kind.ljust(widths[0])}  {shapes.ljust(widths[1])}  differ by {check.difference:.1e}"
            + ("" if check.precision == "f32" else f" in {check.precision}")
            for (kind, shapes), check in zip(cells, self.checks, strict=True)
        ]
        equal += [f"{name}: {found}" for name, found in self.fidelity.items()]
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        rows = [("file", f"{self.path}"), ("format", self.format), ("bytes", f"{self.bytes:,}")]
        if self.int8_layers is not None:
            rows.append(("int8", "{} of {} layers".format(*self.int8_layers)))
        rows += [("checked" if n == 0 else "", line) for n, line in enumerate(equal)]
        return "\n".join(f"{head:<7}  {text}" for head, text in [*rows, ("with", versions)])
