"""Tables 1 to 5 of Gabor and Zdunek as printed."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from tensorpress.errors import TensorpressError

TABLES = ("table1", "table2", "table3", "table4", "table5")
NAMES = {
    "TT-conv-CNN": "tt_conv_cnn",
    "VGGnet": "vggnet",
    "ResNet-56": "resnet56",
    "ResNet-110": "resnet110",
}
"""The paper's names of networks, and ours."""


@dataclass(frozen=True)
class PaperRow:
    """A printed row: change of accuracy in points, parameter and FLOPs ratio; None: not printed."""

    method: str
    dacc: float | None
    pcr: float | None
    fcr: float | None

    @property
    def tau(self) -> float | None:
        """The threshold of a TTPWT row."""
        found = re.fullmatch(r"TTPWT \(([\d.]+)\)", self.method)
        return float(found[1]) if found else None


@dataclass(frozen=True)
class PaperTable:
    """A comparison of methods on one network and data set: Tables 2 to 5."""

    name: str
    network: str
    data: str
    rows: tuple[PaperRow, ...]

    @property
    def net(self) -> str:
        """Our name of its network."""
        return NAMES[self.network]


def paper_table(name: str) -> PaperTable:
    """Table 2, 3, 4 or 5 by its name, "table2" to "table5".

    Raises:
        TensorpressError: another name.
    """
    if name not in TABLES[1:]:
        raise TensorpressError(f"there is no '{name}': give one of {', '.join(TABLES)}.")
    table = _printed()[name]
    rows = tuple(PaperRow(*row) for row in table["rows"])
    return PaperTable(name, table["network"], table["data"], rows)


def tables_on(net: str, data: str) -> list[PaperTable]:
    """The tables on a network and data, by our names of them.

    Data are CIFAR if their name says which, as "cifar10" and "cifar-100-binary" do.
    """
    tables = [paper_table(name) for name in TABLES[1:]]
    return [t for t in tables if t.net == net and _cifar(t.data) == _cifar(data)]


def _cifar(data: str) -> str:
    found = re.search(r"cifar-?(100?)(?!\d)", data.lower())
    return found[1] if found else data


def paper_counts() -> list[tuple[str, int, int]]:
    """Table 1: network, parameters, FLOPs (multiply-accumulates)."""
    return [(name, params, flops) for name, params, flops in _printed()["table1"]["rows"]]


@cache
def _printed() -> dict[str, Any]:
    file = resources.files("tensorpress.experiments") / "paper_tables.json"
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
