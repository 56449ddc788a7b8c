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
from tensorpress.deploy.benchmark_chart import plot_benchmark
from tensorpress.deploy.int8 import Fidelity
from tensorpress.deploy.latency import Spread
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
        for spread in (cell.own, cell.dense, cell.stored, cell.planned):
            assert 0 < spread.best <= spread.low <= spread.median <= spread.high
        baseline = min(cell.dense.median, cell.own.median)
        assert cell.ratio == baseline / cell.planned.median
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
        *(({"seconds": n}, f"seconds={n}: give") for n in (-1, torch.inf, torch.nan, True)),
        ({"precisions": ("f8",)}, "precision='f8'"),
        ({"precisions": ("f32", "int8")}, "int8 needs images to read the ranges of values off"),
    ],
    ids=str,
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        measured(**options)


def cell(dense: float, planned: float, **values: Any) -> Cell:
    setting = {"runtime": "torch", "version": "2", "threads": 1, "precision": "f32", "batch": 8}
    whole = {"plan": 1e-3, "dense": 1e-3, "chain": 1e-3}
    spread = Spread(planned, 0.9 * planned, 1.1 * planned, planned)
    before = Spread(dense, dense, dense, dense)
    made = Cell(
        *("torch", "2", 8, 1, "f32", before, before, spread, spread),
        *(9, 3 * 2**20, 2**20, PlanTable((), whole, setting)),
    )
    return dataclasses.replace(made, **values)


def test_where_it_is_slower_is_said() -> None:
    slow, even, fast = cell(0.9e-3, 1e-3), cell(0.98e-3, 1e-3), cell(4e-3, 1e-3, dense_bytes=None)
    found = Benchmark((slow, even, fast), {})
    assert found.slower == (slow,)
    assert str(found).splitlines() == [
        "runtime  batch  threads  precision  own ms  dense ms  stored ms  planned ms  spread  speed"
        "  over own  images/s      memory",
        "-" * 130,
        "torch        8        1  f32          0.90      0.90       1.00        1.00    20 %  0.90x"
        "     0.90x     8,000  3 -> 1 MiB  SLOWER",
        "torch        8        1  f32          0.98      0.98       1.00        1.00    20 %  0.98x"
        "     0.98x     8,000  3 -> 1 MiB",
        "torch        8        1  f32          4.00      4.00       1.00        1.00    20 %  4.00x"
        "     4.00x     8,000           -",
    ]


def test_a_reason_is_told_once() -> None:
    reasons = {
        "torch-cuda in f32": "no GPU.",
        "torch in int8": "no.",
        "torch-cuda in int8": "no GPU.",
    }
    assert str(Benchmark((cell(2e-3, 1e-3),), reasons)).splitlines()[-2:] == [
        "torch-cuda in f32, torch-cuda in int8: not measured: no GPU.",
        "torch in int8: not measured: no.",
    ]


def test_what_int8_keeps_stands_once_below_the_table() -> None:
    known = Fidelity(0.923, 0.038, 64)
    rounded = [cell(2e-3, 1e-3, precision="int8", batch=n, fidelity=known) for n in (1, 8)]
    *table, last = str(Benchmark((cell(2e-3, 1e-3), *rounded), {})).splitlines()
    assert last == (
        "torch in int8, held to float32: agreement 92.3 %, relative error 0.038 on 64 images"
    )
    assert len(table) == 5
    assert max(map(len, table)) <= 130


def test_what_does_not_repeat_is_said() -> None:
    spike = Spread(7.2e-3, 2e-3, 9e-3, 1.9e-3)
    doubtful = dataclasses.replace(cell(7.2e-3, 0.8e-3), own=spike, dense=spike)
    assert doubtful.ratio == pytest.approx(9.0)
    assert doubtful.least_ratio == pytest.approx(1.9 / 0.8)
    assert not doubtful.certain
    last = str(Benchmark((doubtful,), {})).splitlines()[-1]
    assert last.endswith("UNCERTAIN: 2.38x at the least")


def test_slower_than_as_it_is_stored_is_slower() -> None:
    stored = Spread(0.5e-3, 0.5e-3, 0.5e-3, 0.5e-3)
    assert cell(2e-3, 1e-3, stored=stored).is_slower
    assert not cell(2e-3, 1e-3).is_slower


def test_int8_beside_what_the_runtime_does_by_itself() -> None:
    pytest.importorskip("onnxruntime")
    images = torch.randn(16, *SHAPE)
    options = {"runtimes": ("onnxruntime", "torch"), "precisions": ("auto", "f32", "int8")}
    found = measured(calibration=images, **options)
    assert [(c.runtime, c.precision) for c in found.cells] == [
        ("onnxruntime", "f32"),
        ("onnxruntime", "int8"),
        ("torch", "f32"),
    ]
    assert list(found.missing) == ["torch in int8"]
    plain, quantised, _ = found.cells
    assert plain.own == plain.dense
    assert plain.fidelity is None
    assert quantised.own != quantised.dense
    assert quantised.fidelity is not None
    assert 0 < quantised.fidelity.error < 0.2
    assert json.loads(json.dumps(quantised.to_dict()))["fidelity"]["images"] == 16


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


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_what_making_a_graph_takes_is_no_memory_of_the_network(
    runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime" if runtime == "torch" else runtime)
    image = torch.randn(2, *SHAPE)
    runner = tp.plan(nn.Conv2d(3, 4, 3), image, runtime=runtime, threads=1, cache=False).runner

    def made(*_: Any) -> None:
        raise AssertionError("a graph is made")

    monkeypatch.setattr("tensorpress.deploy.runtimes.onnx_graph.OnnxGraph.variant", made)
    again = runner.reloaded()
    assert again is not runner
    assert all(map(torch.equal, again(image), runner(image)))
