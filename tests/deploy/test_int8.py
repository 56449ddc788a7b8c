"""Plans and files in int8."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plan_nets import conv, norm
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import tensorpress as tp
from tensorpress.deploy import RUNTIMES, Plan
from tensorpress.deploy.execution import Execution, factorized_layers
from tensorpress.deploy.int8 import Fidelity, fidelity, quantised
from tensorpress.deploy.int8.quantise import int8_layers
from tensorpress.deploy.runtimes.graph_runtime import GraphRunner, PreparedGraph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("measured_once")

IMAGES = torch.randn(40, 3, 8, 9, generator=torch.Generator().manual_seed(1))
IMAGE = IMAGES[:2]
RUN_IN = ["onnxruntime", "openvino"]


def net(classes: int = 5) -> nn.Module:
    """Residual, with factorized layers."""
    torch.manual_seed(0)

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.bn1 = conv(3, 8, 3, bias=False), norm(8)
            self.second, self.bn2 = conv(8, 8, 3, stride=2, bias=False), norm(8)
            self.short = nn.Conv2d(8, 8, 1, stride=2)
            self.head = nn.Linear(8, classes)

        def forward(self, x: Tensor) -> Tensor:
            x = self.bn1(self.first(x)).relu()
            x = (self.bn2(self.second(x)) + self.short(x)).relu()
            return self.head(x.mean((2, 3)))

    return Residual().eval()


def planned(net: nn.Module, runtime: str = "onnxruntime", **options: Any) -> Plan:
    pytest.importorskip(runtime)
    options = {"calibration": IMAGES, "threads": 1, **options}
    return tp.plan(net, IMAGE, runtime=runtime, precision="int8", min_agreement=0.5, **options)


def relative_error(found: Tensor, expected: Tensor) -> float:
    off = (found - expected).square().sum() / (expected - expected.mean(0)).square().sum()
    return float(off.sqrt())


@pytest.mark.parametrize("runtime", RUN_IN)
def test_a_plan_in_int8_is_near_the_network(runtime: str) -> None:
    model = net()
    plan = planned(model, runtime)
    with torch.no_grad():
        expected = model(IMAGES)
    found = plan(IMAGES)
    error = relative_error(found, expected)
    assert 1e-4 < error < 0.2
    assert plan.fidelity is not None
    assert plan.fidelity.error == pytest.approx(error, rel=0.05)
    same = (found.argmax(1) == expected.argmax(1)).double().mean()
    assert plan.fidelity.agreement == pytest.approx(float(same), abs=0.03)
    assert plan.difference is None
    assert [row.name for row in plan.table.rows] == ["first", "second"]
    assert all(min(row.seconds.values()) > 0 for row in plan.table.rows)
    lines = str(plan).splitlines()
    assert lines[-3].startswith("whole network: plan ")
    own = RUNTIMES[runtime].own_precision()
    assert lines[-2].startswith(f"in {own}, as {runtime} runs it by itself: dense ")
    some, layers = plan.int8_layers
    assert some == layers
    assert lines[-1] == f"int8 in {some} of {layers} layers: {plan.fidelity}"


def test_the_form_that_is_executed_is_the_one_that_is_quantised() -> None:
    model = net()
    plan = planned(model)
    counts = set()
    for runs in ((4,), (1, 2, 1), (1, 1, 1, 1)):
        runner = plan.executed({name: Execution(runs) for name in factorized_layers(model)})
        assert isinstance(runner, GraphRunner)
        with torch.no_grad():
            assert relative_error(runner(IMAGES)[0], model(IMAGES)) < 0.3
        counts.add(runner.int8_layers())
    assert counts == {(4, 4), (8, 8), (10, 10)}


def test_weights_of_a_quantised_graph_are_int8_by_channel_and_cannot_overflow() -> None:
    runner = planned(net()).runner
    assert isinstance(runner, GraphRunner)
    graph = runner._model.graph
    held = {value.name: onnx.numpy_helper.to_array(value) for value in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        if node.op_type == "Conv":
            weight, scale = (held[name] for name in makers[node.input[1]].input[:2])
            assert weight.dtype == np.int8
            assert np.abs(weight.astype(int)).max() <= 64  # two products of 64 x 255 fit 16 bits
            assert len(np.atleast_1d(scale)) == len(weight)


@pytest.mark.parametrize("form", ["tensor", "array", "loader", "data set"])
def test_calibration_in_any_form_that_compress_takes(form: str) -> None:
    given: dict[str, Any] = {
        "array": IMAGES.numpy(),
        "loader": DataLoader(TensorDataset(IMAGES, torch.zeros(40)), batch_size=16),
        "data set": TensorDataset(IMAGES),
    }
    plan = planned(net(), calibration=given.get(form, IMAGES))
    assert plan.fidelity is not None
    assert plan.fidelity.images == 40


def test_a_network_of_several_inputs_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = conv(3, 6, 3), conv(1, 6, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.left(a) + self.right(b)

    torch.manual_seed(0)
    rows = {"a": IMAGES, "b": torch.randn(40, 1, 8, 9)}
    examples = {name: tensor[:2] for name, tensor in rows.items()}
    plan = tp.plan(
        Two().eval(),
        examples,
        runtime="onnxruntime",
        precision="int8",
        calibration=rows,
    )
    assert plan.fidelity is not None
    assert plan.fidelity.agreement is None
    assert re.fullmatch(r"relative error 0\.\d+ on 40 images", str(plan.fidelity))


def test_times_are_kept_and_ranges_are_not() -> None:
    model = net()
    first = planned(model)
    again = planned(model, calibration=5 * IMAGES)
    assert again.table == first.table
    assert relative_error(again(IMAGES), first(IMAGES)) > 1e-3


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_layers_can_be_written_as_they_are_stored(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    run_file = pytest.importorskip("runtimes").run_file
    model, path = net(), tmp_path / f"net{suffix}"
    options: dict[str, Any] = {"precision": "int8", "calibration": IMAGES, "min_agreement": 0.5}
    report = tp.export(model, path, IMAGE, planned=False, **options)
    weighted = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert report.int8_layers == (len(weighted), len(weighted))
    assert report.plan is None
    with torch.no_grad():
        error = relative_error(run_file(path, IMAGES)[0], model(IMAGES))
    assert report.fidelity["calibration"].error == pytest.approx(error, rel=0.05)
    kept = tp.export(model, path, IMAGE, planned=False, keep_float=["second"], **options)
    assert kept.int8_layers == (len(weighted) - len(list(model.second)), len(weighted))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"calibration": None}, "precision='int8' needs images"),
        ({"calibration": IMAGES[:3]}, "at least 16 images, and 3 were given"),
        ({"keep_float": ["third"]}, "third"),
        ({"dynamic_batch": False}, "or in int8, leaves the batch size free"),
    ],
)
def test_what_is_wrong_is_said_of_stored_ones_too(
    wrong: dict[str, Any], message: str, tmp_path: Path
) -> None:
    options = {"precision": "int8", "calibration": IMAGES, "planned": False, **wrong}
    with pytest.raises(tp.TensorpressError, match=message):
        tp.export(net(), tmp_path / "net.onnx", IMAGE, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("planned", [False, True])
def test_a_network_that_cannot_be_traced_is_one_line(planned: bool, tmp_path: Path) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) if x.sum() > 0 else -self.layer(x)

    options: dict[str, Any] = {"precision": "int8", "calibration": IMAGES, "planned": planned}
    with pytest.raises(tp.TensorpressError, match="cannot be exported") as refused:
        tp.export(Branching().eval(), tmp_path / "net.onnx", IMAGE, **options)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_an_exported_file_computes_in_int8(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    run_file = pytest.importorskip("runtimes").run_file
    model = net()
    path = tmp_path / f"net{suffix}"
    report = tp.export(
        model,
        path,
        IMAGE,
        precision="int8",
        calibration=IMAGES,
        check_inputs=IMAGES[:8],
        min_agreement=0.5,
    )
    with torch.no_grad():
        expected = model(IMAGES)
    (found,) = run_file(path, IMAGES)
    error = relative_error(found, expected)
    assert report.fidelity["calibration"].error == pytest.approx(error, rel=0.05)
    assert report.worst == max(each.error for each in report.fidelity.values())
    assert report.fidelity["given"].images == 8
    text = str(report)
    assert "\nint8     " in text
    assert "\nchecked  calibration: agreement " in text
    assert "\n         given: agreement " in text


def test_a_dense_network_in_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    plain = tp.export(wide, tmp_path / "plain.onnx", IMAGE)
    small = tp.export(wide, tmp_path / "small.onnx", IMAGE, precision="int8", calibration=IMAGES)
    assert small.int8_layers == (2, 2)
    assert small.bytes < plain.bytes / 2.5


class Spiky(nn.Module):
    """Its answer is a small difference of large values, which no int8 resolves."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = conv(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = self.layer(x)
        return (made + 1e4) - 1e4


def refused(message: str, path: Path, model: nn.Module | None = None, **options: Any) -> None:
    path.write_bytes(b"older")
    options = {"precision": "int8", "calibration": IMAGES, **options}
    with pytest.raises(tp.TensorpressError, match=message) as error:
        tp.export(net() if model is None else model, path, IMAGE, **options)
    assert "\n" not in str(error.value)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": None}, "int8' needs images to read the ranges .* off: give a few hundred"),
        ({"calibration": IMAGES[:3]}, "calibration takes at least 16 images, and 3 were given"),
        ({"calibration": IMAGES[:, :, 1:]}, "images are of shape 3x7x9, and the example .* 3x8x9"),
        ({"calibration": IMAGES * float("nan")}, "the calibration images hold NaN or inf"),
        ({"calibration": "photos"}, "give the images themselves"),
        ({"min_agreement": 1.5}, r"min_agreement=1\.5: give a share from 0 to 1"),
        (
            {"model": Spiky().eval()},
            "float32: relative error .*a kept variance of 0.95 is asked for: .* nothing is",
        ),
        ({"model": nn.Flatten()}, "no layer that onnxruntime.quantization can quantise"),
        ({"dynamic_batch": False}, "leaves the batch size free"),
        ({"precision": "int4"}, "precision='int4': a file is written in 'f32' or 'int8'"),
        ({"precision": "f32"}, "calibration= is for precision='int8'"),
        ({"precision": "f32", "calibration": None, "min_agreement": 0.9}, "of a network in int8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    refused(message, tmp_path / "net.onnx", **options)


def test_a_format_that_cannot_hold_it(tmp_path: Path) -> None:
    refused(r"pt2 files are not written in int8.*\.onnx \(onnx\)", tmp_path / "net.pt2")


@pytest.mark.parametrize("runtime", ["torch", "torch-compiled"])
def test_a_runtime_that_has_no_int8(runtime: str) -> None:
    message = f"{runtime} computes in f32, bf16, not in int8: .*onnxruntime, openvino"
    with pytest.raises(tp.TensorpressError, match=message):
        planned(net(), runtime) if runtime == "torch" else tp.plan(
            net(), IMAGE, runtime=runtime, precision="int8", calibration=IMAGES
        )


def test_without_the_quantiser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    refused(r"needs onnxruntime\.quantization.*pip install", tmp_path / "net.onnx")


def test_a_quantiser_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no such node\nand more")

    monkeypatch.setattr("onnxruntime.quantization.quantize_static", fail)
    refused(r"cannot quantise the network \(ValueError: no such node\)", tmp_path / "net.onnx")


def test_fidelity_of_known_answers() -> None:
    plan = planned(net())
    rows = plan.setting.calibration
    assert rows is not None
    model = net()
    exact = fidelity(model, lambda part: [model(*part.tensors).detach()], rows)
    assert (exact.agreement, exact.error, exact.images) == (1.0, 0.0, 40)
    off = fidelity(model, lambda part: [-model(*part.tensors).detach()], rows)
    assert off.agreement == 0.0
    assert off.error > 1
    broken = fidelity(model, lambda part: [model(*part.tensors).detach() * float("nan")], rows)
    assert broken.error == float("inf")
    assert Fidelity(None, 0.2, 40).kept == pytest.approx(0.96)
    Fidelity(None, 0.2, 40).refuse_below(0.95)
    with pytest.raises(tp.TensorpressError, match=r"a kept variance of 0\.97"):
        Fidelity(None, 0.2, 40).refuse_below(0.97)


def test_layers_that_stay_are_counted() -> None:
    plan = planned(net())
    rows = plan.setting.calibration
    assert rows is not None
    assert isinstance(plan._prepared, PreparedGraph)
    model, _ = plan._prepared.graph.variant({})
    before = int8_layers(model)
    assert before == (0, 4)
    assert int8_layers(quantised(model, rows)) == (4, 4)
