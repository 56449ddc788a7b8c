"""What an export wrote, and how equal it is."""

from dataclasses import dataclass
from pathlib import Path

from tensorpress.deploy.check import Check


@dataclass(frozen=True)
class ExportReport:
    """A written and checked file; prints as aligned lines.

    Attributes:
        path: of the file.
        format: "onnx", "pt2" or "openvino".
        bytes: of the file, and of those that belong to it.
        checks: a row per comparison with PyTorch.
        versions: of PyTorch and of what wrote and ran the file, by name.
    """

    path: Path
    format: str
    bytes: int
    checks: tuple[Check, ...]
    versions: dict[str, str]

    @property
    def worst(self) -> float:
        """The largest difference of all checks, relative to the largest output."""
        return max(check.difference for check in self.checks)

    def __str__(self) -> str:
        cells = [
            (check.inputs, ", ".join("x".join(map(str, shape)) for shape in check.shapes))
            for check in self.checks
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        equal = [
            f"{kind.ljust(widths[0])}  {shapes.ljust(widths[1])}  differ by {check.difference:.1e}"
            for (kind, shapes), check in zip(cells, self.checks, strict=True)
        ]
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        rows = [("file", f"{self.path}"), ("format", self.format), ("bytes", f"{self.bytes:,}")]
        rows += [("checked" if n == 0 else "", line) for n, line in enumerate(equal)]
        return "\n".join(f"{head:<7}  {text}" for head, text in [*rows, ("with", versions)])
