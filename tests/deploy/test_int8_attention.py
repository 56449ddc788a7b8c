"""Attention in int8: products of values without weights, layers on three axes, masks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy.export_report import ExportReport

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("measured_once")

IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LOWEST = float(torch.finfo(torch.float32).min)


class Attention(nn.Module):
    def __init__(self, masked: float | None = None, *, added: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.value, self.head = nn.Linear(8, 8), nn.Linear(8, 5)
        self.masked, self.added = masked, added

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.reshape(-1, 24, 8)
        scores = self.query(tokens) @ self.key(tokens).transpose(1, 2)
        later = torch.ones(24, 24, dtype=torch.bool, device=images.device).triu(1)
        if self.masked is not None and self.added:
            scores = scores + torch.zeros(24, 24).masked_fill(later, self.masked)
        elif self.masked is not None:
            scores = scores.masked_fill(later, self.masked)
        return self.head(scores.softmax(-1) @ self.value(tokens)).mean(1)


def written(net: nn.Module, folder: Path, **options: Any) -> ExportReport:
    given = {"calibration": IMAGES, "planned": False, "precision": "int8", **options}
    return tp.export(net.eval(), folder / "a.onnx", IMAGES[:1], **given)


def weights_in_int8(path: Path) -> int:
    graph = onnx.load(path).graph
    return sum(len(v.dims) == 2 and v.data_type == onnx.TensorProto.INT8 for v in graph.initializer)


def test_products_of_values_are_no_layers(tmp_path: Path) -> None:
    report = written(Attention(), tmp_path)
    assert report.int8_layers == (4, 4)
    assert weights_in_int8(tmp_path / "a.onnx") == 4


@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize(
    ("names", "left"), [(["query"], 3), (["key", "value"], 2), (["query", "head"], 2)]
)
def test_layers_on_three_axes_that_stay_in_float32(
    names: list[str], left: int, planned: bool, tmp_path: Path
) -> None:
    report = written(Attention(), tmp_path, keep_float=names, planned=planned)
    assert report.int8_layers == (left, 4)
    assert weights_in_int8(tmp_path / "a.onnx") == left


@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize("masked", [-torch.inf, LOWEST, -1e4])
def test_masked_values_leave_the_others_their_range(
    masked: float, added: bool, tmp_path: Path
) -> None:
    report = written(Attention(masked, added=added), tmp_path)
    assert report.int8_layers == (4, 4)
    assert report.fidelity["calibration"].error < 0.1
