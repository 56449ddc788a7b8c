"""The account of a compressed ONNX file."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorpress.counted import counted
from tensorpress.deploy import ExportReport
from tensorpress.deploy.graph_check import OutputDifference
from tensorpress.surgery import Account, tally


@dataclass(frozen=True)
class GraphAccount(Account):
    """The account of a compressed ONNX file.

    Attributes:
        outputs: how far each output of the new file is from that of the original.
        int8: of a file in int8, what the export says of it.
        left: why nodes stay as they are that no layers could be made of, by name.
    """

    outputs: tuple[OutputDifference, ...] = ()
    int8: ExportReport | None = None
    left: Mapping[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        lines = [super().summary()]
        if self.left:
            lines.append(told_left(self.left))
        if self.int8 is not None and self.int8.int8_layers is not None:
            made, count = self.int8.int8_layers
            found = self.int8.fidelity["calibration"]
            lines.append(f"int8: {made} of {count} layers; to the same in float32: {found}")
        lines += map(str, self.outputs)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        outputs = [dataclasses.asdict(output) for output in self.outputs]
        facts: dict[str, Any] = {"outputs": outputs, "left": dict(self.left)}
        if self.int8 is not None:
            fidelity = self.int8.fidelity["calibration"].to_dict()
            facts["int8"] = {"layers": self.int8.int8_layers, "fidelity": fidelity}
        return {**super().to_dict(), **facts}


def told_left(reasons: Mapping[str, str]) -> str:
    """Why nodes stay as they are that no layers could be made of."""
    return f"left in the graph: {tally(reasons.values(), counted(len(reasons), 'nodes'))}"
