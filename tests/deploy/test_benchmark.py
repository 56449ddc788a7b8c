"""Side by side: rows, reasons, and where it is slower."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plan_nets import conv
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy import Benchmark, Cell, PlanTable, benchmark, memory
from tensorpress.deploy.benchmark import Spread
from tensorpress.deploy.benchmark_chart import plot_benchmark
from tensorpress.deploy.memory import peak_bytes

SHAPE = (3, 8, 9)


pytestmark = pytest.mark.usefixtures("measured_once")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def nets() -> tuple[nn.Module, nn.Module]:
    dense = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
    return dense, nn.Sequential(conv(3, 6, 3), nn.ReLU())


def measured(**options: Any) -> Benchmark:
    return benchmark(*nets(), SHAPE, **{"seconds": 0.0, "cache": False, **options})


def test_a_row_for_every_combination() -> None:
    threads = torch.get_num_threads()
    found = measured(batches=(1, 3), threads=(1, 2))
    assert torch.get_num_threads() == threads
    assert [(c.runtime, c.batch, c.threads) for c in found.cells] == [
        *(("torch", 1, 1), ("torch", 1, 2), ("torch", 3, 1), ("torch", 3, 2)),
    ]
    assert not found.missing
    for cell in found.cells:
        assert (cell.version, cell.precision, cell.rounds) == (torch.__version__, "f32", 9)
        for spread in (cell.dense, cell.stored, cell.planned):
            assert 0 < spread.low <= spread.median <= spread.high
        assert cell.ratio == cell.dense.median / cell.planned.median
        assert cell.images_per_second == cell.batch / cell.planned.median
        assert [row.name for row in cell.table.rows] == ["0"]
    values = json.loads(json.dumps([cell.to_dict() for cell in found.cells]))
    assert values[0]["ratio"] == found.cells[0].ratio
    assert PlanTable.from_dict(values[0]["table"]) == found.cells[0].table
    lines = str(found).splitlines()
    assert len(lines) == 6
    assert all(line.startswith("torch ") for line in lines[2:])


def test_a_runtime_that_is_missing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    found = measured(runtimes=("openvino", "torch", "torch"))
    assert [cell.runtime for cell in found.cells] == ["torch"]
    assert list(found.missing) == ["openvino"]
    last = str(found).splitlines()[-1]
    assert last.startswith("openvino: not measured: ")
    assert last.endswith("pip install 'tensorpress[openvino]'")
    with pytest.raises(tp.TensorpressError, match="needs openvino"):
        measured(runtimes=("openvino",))


def test_what_one_runtime_cannot_run_is_a_reason() -> None:
    pytest.importorskip("onnxruntime")

    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 1e9 else -x

    net = Branching()
    names = ("onnxruntime", "torch")
    found = benchmark(net, net, SHAPE, runtimes=names, seconds=0.0, cache=False)
    assert [cell.runtime for cell in found.cells] == ["torch"]
    assert "cannot be exported" in found.missing["onnxruntime"]
    with pytest.raises(tp.TensorpressError, match="cannot be exported"):
        benchmark(net, net, SHAPE, runtimes=names[:1], seconds=0.0, cache=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtimes": ("torch", "tensorrt")}, "no runtime 'tensorrt'"),
        ({"runtimes": ()}, "no runtime was named"),
        ({"threads": (0,)}, "threads=0"),
        ({"precision": "f8"}, "precision='f8'"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        measured(**options)


def cell(dense: float, planned: float, **values: Any) -> Cell:
    setting = {"runtime": "torch", "version": "2", "threads": 1, "precision": "f32", "batch": 8}
    whole = {"plan": 1e-3, "dense": 1e-3, "chain": 1e-3}
    spread = Spread(planned, 0.9 * planned, 1.1 * planned)
    made = Cell(
        *("torch", "2", 8, 1, "f32", Spread(dense, dense, dense), spread, spread),
        *(9, 3 * 2**20, 2**20, PlanTable((), whole, setting)),
    )
    return dataclasses.replace(made, **values)


def test_where_it_is_slower_is_said() -> None:
    slow, even, fast = cell(0.9e-3, 1e-3), cell(0.98e-3, 1e-3), cell(4e-3, 1e-3, dense_bytes=None)
    found = Benchmark((slow, even, fast), {})
    assert found.slower == (slow,)
    assert str(found).splitlines() == [
        "runtime  batch  threads  dense ms  stored ms  planned ms  spread  speed  images/s"
        "      memory",
        "------------------------------------------------------------------------------------------"
        "-----------",
        "torch        8        1      0.90       1.00        1.00    20 %  0.90x     8,000"
        "  3 -> 1 MiB  SLOWER",
        "torch        8        1      0.98       1.00        1.00    20 %  0.98x     8,000"
        "  3 -> 1 MiB",
        "torch        8        1      4.00       1.00        1.00    20 %  4.00x     8,000"
        "           -",
    ]


def test_the_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_benchmark(Benchmark((cell(1e-3, 1e-3), cell(2e-3, 1e-3)), {}), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")
def test_peak_bytes_sees_what_is_allocated_and_freed() -> None:
    size = 200 * 2**20
    found = peak_bytes(lambda: np.ones(size, dtype=np.uint8).sum())
    if found is None:
        pytest.skip("this system does not let the peak be reset")
    assert 0.9 * size < found < 1.5 * size
    little = peak_bytes(lambda: None)
    assert little is not None
    assert little < 0.1 * size


def test_peak_bytes_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CLEAR_REFERENCES", tmp_path / "nowhere" / "clear_refs")
    done: list[int] = []
    assert peak_bytes(lambda: done.append(1)) is None
    assert done == [1]
