"""Tables 1 to 5 of Gabor and Zdunek as printed, and the tables that are measured besides."""

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from tensorpress.choices import TABLES
from tensorpress.errors import TensorpressError

NAMES = {
    "TT-conv-CNN": "tt_conv_cnn",
    "VGGnet": "vggnet",
    "ResNet-20": "resnet20",
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
    """A comparison of methods on one network and data set: Tables 2 to 5, and further ones.

    Attributes:
        name, network, data: its own, and those of what it is of, as printed.
        rows: as printed, of the paper or of others.
        ratios: further pairs of PCR and FCR to measure at.
    """

    name: str
    network: str
    data: str
    rows: tuple[PaperRow, ...]
    ratios: tuple[tuple[float, float], ...] = ()

    @property
    def net(self) -> str:
        """Our name of its network."""
        return NAMES[self.network]


def paper_table(name: str) -> PaperTable:
    """A table by its name: "table2" to "table5", "resnet20-cifar10", "resnet56-cifar10".

    Raises:
        TensorpressError: another name.
    """
    if name not in TABLES[1:]:
        raise TensorpressError(f"there is no '{name}': give one of {', '.join(TABLES)}.")
    table = _read("paper_tables.json").get(name, {}) | _read("further_tables.json").get(name, {})
    rows = tuple(PaperRow(*row) for row in table["rows"])
    ratios = tuple((params, macs) for params, macs in table.get("ratios", ()))
    return PaperTable(name, table["network"], table["data"], rows, ratios)


def tables_on(net: str, data: str) -> list[PaperTable]:
    """The tables on a network and data, by our names of them.

    Data are CIFAR if their name says which, as "cifar10" and "cifar-100-binary" do. The paper does
    not say which shortcuts its ResNets have.
    """
    tables = [paper_table(name) for name in TABLES[1:]]
    net = net.removesuffix("-projection")
    return [t for t in tables if t.net == net and _cifar(t.data) == _cifar(data)]


def _cifar(data: str) -> str:
    found = re.search(r"cifar-?(100?)(?!\d)", data.lower())
    return found[1] if found else data


def paper_counts() -> list[tuple[str, int, int]]:
    """Table 1: network, parameters, FLOPs (multiply-accumulates)."""
    return [
        (name, params, flops)
        for name, params, flops in _read("paper_tables.json")["table1"]["rows"]
    ]


@cache
def _read(name: str) -> dict[str, Any]:
    file = resources.files("tensorpress.experiments") / name
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
