"""What files of ONNX do to each other, and names and shapes that get into each other's way."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from command import Command, caller
from exports import worst_in_f32
from graph_files import channels_last, classifier, weight, write
from onnx import helper
from torch import Tensor

import tensorpress as tp
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.int8.quantise import int8_layers, quantised
from tensorpress.graphs import read_graph_network

node = helper.make_node
RULE = tp.Energy(0.7)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return caller(monkeypatch, capfd)


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    """A file whose weights lie in small.onnx.data."""
    path = tmp_path / "net.onnx"
    model = onnx.load(classifier(path))
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="small.onnx.data",
        size_threshold=0,
    )
    return path


def answers(path: Path, x: Tensor) -> np.ndarray:
    found = onnxruntime.InferenceSession(path).run(None, {"x": x.numpy()})[0]
    assert isinstance(found, np.ndarray)
    return found


def test_weights_of_the_original_are_not_written_over(apart: Path, tmp_path: Path) -> None:
    kept = (tmp_path / "small.onnx.data").read_bytes()
    for write_it in (
        lambda path: tp.compress_onnx(apart, path, rank=RULE),
        lambda path: tp.export(read_graph_network(apart), path, torch.zeros(1, 3, 10, 10)),
    ):
        with pytest.raises(tp.TensorpressError, match=r"lie in small\.onnx\.data"):
            write_it(tmp_path / "small.onnx")
        assert not (tmp_path / "small.onnx").exists()
        assert (tmp_path / "small.onnx.data").read_bytes() == kept
    tp.compress_onnx(apart, tmp_path / "other.onnx", rank=RULE)
    assert (tmp_path / "small.onnx.data").read_bytes() == kept


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_planned_and_int8_files_hold_weights_that_lay_apart(
    suffix: str, apart: Path, tmp_path: Path
) -> None:
    net, x = read_graph_network(apart), torch.randn(16, 3, 10, 10)
    there = tmp_path / "there"
    there.mkdir()
    report = tp.export(net, there / f"planned{suffix}", x[:2], planned=True, progress=False)
    assert worst_in_f32(report) < 1e-4
    if suffix == ".onnx":
        np.testing.assert_allclose(answers(there / "planned.onnx", x), answers(apart, x), atol=1e-5)
    found = tp.export(
        net,
        there / f"int8{suffix}",
        x[:1],
        precision="int8",
        calibration=x,
        min_agreement=0.1,
        progress=False,
    )
    agreement = found.fidelity["calibration"].agreement
    assert agreement is not None
    assert agreement > 0.8


def test_a_graph_that_fixes_its_batch_is_planned_for_that(tmp_path: Path) -> None:
    net = read_graph_network(classifier(tmp_path / "net.onnx", batch=2))
    path, x = tmp_path / "planned.onnx", torch.randn(16, 3, 10, 10)
    report = tp.export(net, path, x[:2], planned=True, progress=False)
    assert worst_in_f32(report) < 1e-4
    with pytest.raises(tp.TensorpressError, match="plan it for 2"):
        tp.export(net, path, x[:4], planned=True, progress=False)
    with pytest.raises(tp.TensorpressError, match="a free batch"):
        tp.export(net, path, x[:2], precision="int8", calibration=x, progress=False)


@pytest.mark.usefixtures("measured_once")
def test_runtimes_are_fed_channels_last_where_the_graph_is(tmp_path: Path) -> None:
    """Timed, planned, written and quantised, the graph takes what its file says."""
    graph = channels_last(tmp_path / "net.onnx", ("N", 9, 12, 3))
    net, x = read_graph_network(graph), torch.randn(32, 3, 9, 12)
    wanted = net(x)
    for suffix in (".onnx", ".xml"):
        path = tmp_path / f"file{suffix}"
        report = tp.export(net, path, x[:1], check_inputs=x, progress=False)
        assert worst_in_f32(report) < 1e-4
        report = tp.export(net, path, x[:1], planned=True, progress=False)
        assert worst_in_f32(report) < 1e-4
    report = tp.export(
        net,
        tmp_path / "int8.onnx",
        x[:1],
        precision="int8",
        calibration=x,
        min_agreement=0.5,
        progress=False,
    )
    assert report.fidelity["calibration"].error < 0.2
    planned = tp.plan(net, x[:1], runtime="onnxruntime", cache=False, progress=False)
    assert torch.allclose(planned(x), wanted, atol=1e-5)
    account = tp.compress_onnx(
        graph,
        tmp_path / "small.onnx",
        budget=tp.Budget(speedup=1e-3),
        method="ttpwt",
        calibration=x,
        skip_output=False,
    )
    assert account.outputs[0].inputs == len(x)


def test_images_of_another_size_are_refused_before_any_work(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    with pytest.raises(tp.TensorpressError, match=r"calibration has the shape \(3, 8, 8\)"):
        tp.compress_onnx(path, None, rank=RULE, calibration=torch.randn(32, 3, 8, 8))


def test_others_files_are_not_written_over(command: Command, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    own = classifier(tmp_path / "model.onnx").read_bytes()
    asked = ("compress", "--net", path, "--energy", "0.7", "-o")
    answer = command(*asked, tmp_path)
    assert answer.code == 2
    assert "is no result of compress" in answer.err
    assert (tmp_path / "model.onnx").read_bytes() == own
    assert "does not end in .onnx" in command(*asked, tmp_path / "small.onnx").err
    for _ in range(2):
        assert command(*asked, tmp_path / "OUT").code == 0


@pytest.mark.parametrize("name", ["training", "rows", "gives_logits", "channels_last", "forward"])
def test_nodes_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Values too: one of another node has the name that a chain's bias would have."""
    weights = {"w1": weight("w1", 12, 6, 3, 3), "w2": weight("w2", 12, 12, 3, 3)}
    weights |= {"b1": weight("b1", 12), "b2": weight("b2", 12)}
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c"], name="first"),
        node("Relu", ["c"], [f"{name}_/bias"]),
        node("Identity", [f"{name}_/bias"], [f"{name}/bias"]),
        node("Conv", [f"{name}/bias", "w2", "b2"], ["y"], name=name),
    ]
    path = write(tmp_path / "net.onnx", nodes, weights)
    account = tp.compress_onnx(path, tmp_path / "small.onnx", rank=tp.Energy(0.5))
    assert account.pcr > 1
    assert onnxruntime.InferenceSession(tmp_path / "small.onnx") is not None


def test_int8_of_nodes_that_say_little_or_much(tmp_path: Path) -> None:
    """No kernel_shape, padding by itself, a bias that is multiplied; an output without a batch."""
    weights = {
        "w1": weight("w1", 12, 6, 3, 3),
        "w2": weight("w2", 12, 12, 3, 3),
        "wf": weight("wf", 12, 5),
        "bf": weight("bf", 5),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], name="bare"),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], name="same", auto_pad="SAME_UPPER"),
        node("GlobalAveragePool", ["c2"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "wf", "bf"], ["y"], name="scaled", beta=2.0),
        node("ReduceMean", ["y"], ["mean"], keepdims=0),
    ]
    path = write(tmp_path / "net.onnx", nodes, weights, outputs=("y",))
    x = torch.randn(32, 6, 9, 9)
    feed = read_feed(x, dynamic_batch=True)
    made = quantised(onnx.load(path), feed)
    assert int8_layers(made) == (2, 3)
    onnx.save(made, tmp_path / "int8.onnx")
    wanted, found = answers(path, x), answers(tmp_path / "int8.onnx", x)
    assert np.linalg.norm(found - wanted) < 0.15 * np.linalg.norm(wanted - wanted.mean(0))
    both = write(tmp_path / "both.onnx", nodes, weights, outputs=("y", "mean"))
    report = tp.export(
        read_graph_network(both),
        tmp_path / "q.onnx",
        x[:1],
        precision="int8",
        calibration=x,
        min_agreement=0.0,
        progress=False,
    )
    assert report.int8_layers == (2, 3)
