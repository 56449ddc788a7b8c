"""`compress_onnx`: the same as `compress` in closed form, for a file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command import Answer, Command, caller
from graph_files import classifier, weight, write
from onnx import helper, numpy_helper
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.data.arrays import load_arrays
from tensorpress.graphs import GraphNetwork, read_graph_network
from tensorpress.request.budget import Unreachable

node = helper.make_node


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return caller(monkeypatch, capfd)


def images(count: int = 32, seed: int = 0) -> Tensor:
    """Smooth ones, so that layers are fed what has a structure."""
    draw = torch.Generator().manual_seed(seed)
    small = torch.randn(count, 3, 4, 4, generator=draw)
    return nn.functional.interpolate(small, size=(10, 10), mode="bilinear")


class Same(nn.Module):
    """What `classifier` is, in PyTorch, its logits for answers."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        net = read_graph_network(file)
        for name in ("first", "second", "third", "head"):
            self.add_module(name, net.get_submodule(name))
        self.third.bias = nn.Parameter(torch.zeros(12), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y = (self.third(self.second(x).relu()) + x).relu()
        found: Tensor = self.head(y.mean((2, 3)))
        return found


def test_is_what_compress_does_with_the_network(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    budget = tp.Budget(macs=1.6)
    wanted = tp.compress(
        Same(path),
        torch.zeros(1, 3, 10, 10),
        method="ttpwt",
        budget=budget,
        calibration=images(),
        recover=False,
        skip_output=False,
    )
    small = tmp_path / "small.onnx"
    found = tp.compress_onnx(
        path, small, method="ttpwt", budget=budget, calibration=images(), skip_output=False
    )
    assert [(r.name, r.method, r.ranks, r.macs_after) for r in found.layers] == [
        (r.name, r.method, r.ranks, r.macs_after) for r in wanted.layers
    ]
    others = images(seed=1)
    expected = wanted.model(others).softmax(1)
    written = read_graph_network(small)
    assert torch.allclose(written(others), expected, atol=1e-4)
    (output,) = found.outputs
    assert output.agreement == pytest.approx(agreement(path, small, images()))


def agreement(before: Path, after: Path, inputs: Tensor) -> float:
    first, second = (read_graph_network(path)(inputs).argmax(1) for path in (before, after))
    return float((first == second).double().mean())


def test_what_no_input_changes_at_full_rank_is_equal(tmp_path: Path) -> None:
    kernel = np.outer(weight("a", 24), weight("b", 24 * 9)).reshape(24, 24, 3, 3)
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["y"], name="two", pads=[1] * 4),
    ]
    weights = {"w": weight("w", 24, 6, 3, 3), "v": kernel.astype(np.float32)}
    path = write(tmp_path / "net.onnx", nodes, weights)
    account = tp.compress_onnx(
        path, tmp_path / "small.onnx", rank=tp.Energy(1 - 1e-12), input_shape=(6, 9, 9)
    )
    assert account.pcr > 2
    assert account.outputs[0].largest < 1e-5


def test_pixels_that_a_graph_takes_as_they_are_are_drawn(tmp_path: Path) -> None:
    """Black ones tell nothing: what was cut off of a kernel gives zero of them."""
    nodes = [
        node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        node("Conv", ["f", "w"], ["c"], name="one", pads=[1] * 4),
        node("Conv", ["c", "v"], ["y"], name="two", pads=[1] * 4),
    ]
    weights = {"w": weight("w", 24, 6, 3, 3), "v": weight("v", 24, 24, 3, 3)}
    model = onnx.load(write(tmp_path / "net.onnx", nodes, weights))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, tmp_path / "net.onnx")
    account = tp.compress_onnx(
        tmp_path / "net.onnx", None, rank=tp.Energy(0.5), input_shape=(6, 9, 9), skip_output=False
    )
    assert account.outputs[0].largest > 0.1


def test_several_inputs_by_their_names(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", pads=[1, 1]),
        node("Conv", ["c", "v"], ["d"], name="two", pads=[1, 1]),
        node("Add", ["d", "shift"], ["y"]),
    ]
    weights = {"w": weight("w", 16, 4, 3), "v": weight("v", 16, 16, 3)}
    path = write(
        tmp_path / "net.onnx",
        nodes,
        weights,
        inputs={"x": ("N", 4, "length"), "shift": ("N", 16, 1)},
    )
    draw = torch.Generator().manual_seed(0)
    given = {
        "shift": torch.randn(20, 16, 1, generator=draw),
        "x": torch.randn(20, 4, 30, generator=draw),
    }
    np.savez(tmp_path / "given.npz", **{name: x.numpy() for name, x in given.items()})
    account = tp.compress_onnx(
        path,
        tmp_path / "small.onnx",
        budget=tp.Budget(macs=1.5),
        calibration=load_arrays(tmp_path / "given.npz", most=18),
        skip_output=False,
    )
    assert account.fcr >= 1.5
    assert account.outputs[0].inputs == 18
    with pytest.raises(tp.TensorpressError, match="'shift' is missing"):
        tp.compress_onnx(path, None, budget=tp.Budget(macs=1.5), calibration={"x": given["x"]})


def test_a_fixed_batch_is_calibrated_one_by_one(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx", batch=1)
    model = onnx.load(path)
    flatten = next(n for n in model.graph.node if n.op_type == "Flatten")
    flatten.op_type = "Reshape"
    flatten.input.append("shape")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 12]), "shape"))
    onnx.save(model, path)
    assert read_graph_network(path).rows == 1
    account = tp.compress_onnx(
        path,
        tmp_path / "small.onnx",
        method="ttpwt",
        budget=tp.Budget(macs=1.5),
        calibration=images(16),
        skip_output=False,
    )
    assert account.outputs[0].inputs == 16


@pytest.mark.usefixtures("measured_once")
@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_the_file_alone_fixes(batch: int, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx", batch=batch)
    asked: dict[str, Any] = {"method": "ttpwt", "skip_output": False}
    account = tp.compress_onnx(path, tmp_path / "small.onnx", rank=tp.Energy(0.8), **asked)
    assert account.outputs[0].inputs == batch
    assert onnx.load(tmp_path / "small.onnx").graph.input == onnx.load(path).graph.input
    tp.compress_onnx(path, tmp_path / "fast.onnx", budget=tp.Budget(speedup=1e-3), **asked)
    with pytest.raises(tp.TensorpressError, match="at once"):
        tp.compress_onnx(path, None, budget=tp.Budget(speedup=1e-3, batch=8), **asked)


def test_a_quality_is_kept(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    try:
        account = tp.compress_onnx(
            path,
            tmp_path / "small.onnx",
            method="ttpwt",
            budget=tp.Budget(output_error=0.3),
            calibration=images(48),
            skip_output=False,
        )
    except Unreachable:
        pytest.fail("no rank of three layers keeps the outputs to 30 %")
    assert account.quality is not None
    assert account.quality.value <= 0.3


@pytest.mark.usefixtures("measured_once")
def test_time_is_measured_on_the_graph(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    account = tp.compress_onnx(
        path,
        tmp_path / "small.onnx",
        method="ttpwt",
        budget=tp.Budget(speedup=1e-3),
        calibration=images(),
        skip_output=False,
    )
    assert account.request["budget"]["runtime"] == "onnxruntime"
    assert (tmp_path / "small.onnx").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"method": "l1", "budget": tp.Budget(macs=2)}, "takes channels out"),
        ({"method": "deep-k-means", "budget": tp.Budget(params=2)}, "makes no chain"),
        ({"budget": tp.Budget(speedup=2, runtime="torch")}, "onnxruntime or openvino"),
        ({"rank": tp.Energy(0.9), "layout": "HWC"}, "NCHW or NHWC"),
        ({"rank": tp.Energy(0.9), "input_shape": (4, 10, 10)}, "the graph takes"),
        ({"rank": tp.Energy(0.9), "include": ["nothing"]}, "fits no layer"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    with pytest.raises(tp.TensorpressError, match=told):
        tp.compress_onnx(path, tmp_path / "small.onnx", **asked)
    assert not (tmp_path / "small.onnx").exists()


def test_padding_of_a_node_is_not_told_as_what_it_was(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["y"], name="layer", pads=[0, 1, 1, 2])]
    path = write(tmp_path / "net.onnx", nodes, {"w": weight("w", 16, 6, 3, 3)})
    account = tp.compress_onnx(path, None, rank=tp.Energy(0.3), skip_first=False)
    assert [row.decision for row in account.layers] == ["ttpwt"]


def test_an_input_without_rows_is_named(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="layer"),
        node("Mul", ["c", "factor"], ["y"]),
    ]
    path = write(
        tmp_path / "net.onnx",
        nodes,
        {"w": weight("w", 6, 6, 3, 3)},
        inputs={"x": ("N", 6, 9, 9), "factor": ()},
    )
    with pytest.raises(tp.TensorpressError, match="the input 'factor' of the graph is a single"):
        tp.compress_onnx(path, None, rank=tp.Energy(0.5))


@pytest.mark.usefixtures("measured_once")
@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("shape", [(1,), (5, 1, 1)])
def test_an_input_that_is_the_same_for_every_row(
    batch: int | str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", pads=[1] * 4),
        node("ReduceSum", ["factor"], ["f"], keepdims=0),
        node("Mul", ["c", "f"], ["y"]),
    ]
    path = write(
        tmp_path / "net.onnx",
        nodes,
        {"w": weight("w", 16, 6, 3, 3)},
        inputs={"x": (batch, 6, 9, 9), "factor": shape},
    )
    asked: dict[str, Any] = {"skip_first": False, "skip_output": False}
    account = tp.compress_onnx(path, tmp_path / "small.onnx", rank=tp.Energy(0.5), **asked)
    assert account.pcr > 1
    assert account.outputs[0].inputs == (4 if batch == "N" else batch)
    timed = tp.Budget(speedup=1e-3, batch=4 if batch == "N" else batch)
    tp.compress_onnx(path, tmp_path / "fast.onnx", budget=timed, **asked)
    if batch != 1 or shape != (1,):
        given = {"x": torch.rand(20, 6, 9, 9), "factor": torch.rand(shape)}
        with pytest.raises(tp.TensorpressError, match=r"'factor' .* whatever the batch"):
            tp.compress_onnx(path, None, rank=tp.Energy(0.5), calibration=given)


def test_a_graph_whose_layers_all_stay_says_why(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", auto_pad="SAME_LOWER", strides=[2, 2]),
        node("ConvTranspose", ["c", "v"], ["y"], name="two", output_shape=[9, 9], strides=[2, 2]),
    ]
    weights = {"w": weight("w", 6, 6, 3, 3), "v": weight("v", 6, 6, 3, 3)}
    path = write(tmp_path / "net.onnx", nodes, weights)
    with pytest.raises(
        tp.TensorpressError,
        match=r"no layer .* 1 of 2 nodes: its auto_pad is SAME_LOWER; 1 of 2 nodes: what it crops",
    ):
        tp.compress_onnx(path, None, rank=tp.Energy(0.5))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"input_shape": 3}, "input_shape=3: give the sizes"),
        ({"input_shape": "3,10,10"}, "input_shape='3,10,10': give the sizes"),
        ({"input_shape": (3, 10.0, 10)}, "give the sizes"),
        ({"include": 3}, "take names, patterns and modules, not 3"),
        ({"exclude": None}, "take names, patterns and modules, not None"),
        ({"rank": {3: tp.Energy(0.5)}}, "takes names, patterns and modules, not 3"),
        ({"outputs": 3, "calibration": images()}, "outputs=3: give the names"),
        ({"outputs": ["nothing"], "calibration": images()}, "has no module 'nothing'"),
        ({"calibration": np.zeros((20, 3, 10, 10), object)}, "an array of object"),
        ({"calibration": {"x": np.zeros((20, 3, 10, 10), object)}}, "an array of object"),
        ({"calibration": 3}, "calibration=int"),
        ({"precision": "f16"}, "precision='f16'"),
        ({"precision": "int8"}, "needs images"),
        ({"min_agreement": 2, "precision": "int8", "calibration": images()}, "give a share"),
        ({"min_agreement": 0.9}, "of a network in int8: give precision='int8'"),
        ({"keep_float": 3}, "keep_float"),
    ],
)
def test_what_is_of_the_wrong_type(asked: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    with pytest.raises(tp.TensorpressError, match=told):
        tp.compress_onnx(path, None, **{"rank": tp.Energy(0.9), **asked})


def test_outputs_may_be_a_function_of_the_answer(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    seen = []

    def compared(answer: Tensor) -> Tensor:
        seen.append(answer.shape[1:])
        return answer[:, :2]

    tp.compress_onnx(
        path, None, budget=tp.Budget(macs=1.3), method="ttpwt", calibration=images(),
        outputs=compared, skip_output=False,
    )  # fmt: skip
    assert set(seen) == {(5,)}


def test_few_columns_are_no_channels_where_what_is_given_says_so(tmp_path: Path) -> None:
    """(N, 16, 9, 4) may be images of four channels, which come last."""
    path = write(
        tmp_path / "net.onnx",
        [node("Conv", ["x", "w"], ["y"], name="one", pads=[1] * 4)],
        {"w": weight("w", 16, 16, 3, 3)},
        inputs={"x": ("N", 16, 9, 4)},
    )
    asked: dict[str, Any] = {"rank": tp.Energy(0.5), "skip_first": False, "skip_output": False}
    for given in (torch.rand(20, 16, 9, 4), np.zeros((20, 16, 9, 4), np.float32)):
        account = tp.compress_onnx(path, tmp_path / "small.onnx", calibration=given, **asked)
        assert account.outputs[0].inputs == 20
    assert tp.compress_onnx(path, None, input_shape=(16, 9, 4), **asked).pcr > 1
    told = r"takes \(4, 16, 9\) as 'x', which in the file is \(any, 16, 9, 4\).* layout='NCHW'"
    with pytest.raises(tp.TensorpressError, match=told):
        tp.compress_onnx(path, None, input_shape=(16, 9, 5), **asked)


def test_channels_last_by_its_option(tmp_path: Path, command: Command) -> None:
    """Eight channels are no image's, so that the shape alone does not tell."""
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], name="one", pads=[1] * 4),
        node("Conv", ["c", "v"], ["y"], name="two"),
    ]
    weights = {"w": weight("w", 12, 8, 3, 3), "v": weight("v", 12, 12, 3, 3)}
    taken = {"x": ("N", 9, 9, 8)}
    path = write(tmp_path / "net.onnx", nodes, weights, inputs=taken)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(20, 8, 9, 9)))
    asked = ("compress", "--net", path, "--energy", 0.5, "--layout", "NHWC", "--no-skip-output")
    for calibrated in ((), ("--calibrate", tmp_path / "x.npy")):
        answer = command(*asked, *calibrated)
        assert answer.code == 0, answer.err
        assert "two" in answer.out


@pytest.mark.parametrize("length", [30, "length"])
def test_several_inputs_without_calibration(
    length: int | str, tmp_path: Path, command: Command
) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", pads=[1, 1]),
        node("Conv", ["c", "v"], ["d"], name="two", pads=[1, 1]),
        node("Add", ["d", "shift"], ["y"]),
    ]
    weights = {"w": weight("w", 16, 4, 3), "v": weight("v", 16, 16, 3)}
    taken: dict[str, Any] = {"x": ("N", 4, length), "shift": ("N", 16, 1)}
    path = write(tmp_path / "net.onnx", nodes, weights, inputs=taken)
    answer = command("compress", "--net", path, "--energy", 0.5, "--no-skip-output")
    if isinstance(length, int):
        assert answer.code == 0, answer.err
        assert "output 'y'" in answer.out
    else:
        refused(answer)
        assert "'x' free: give --calibrate FILE.npz" in answer.err
    answer = command("export", "--net", path, "-o", tmp_path / "out.onnx")
    refused(answer)
    assert "takes 2 inputs, x, shift" in answer.err


def test_rows_of_other_axes_than_the_file_takes_are_told(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["y"], name="one", pads=[1, 1])]
    weights = {"w": weight("w", 16, 4, 3)}
    path = write(tmp_path / "net.onnx", nodes, weights, inputs={"x": ("N", 4, "length")})
    asked: dict[str, Any] = {"rank": tp.Energy(0.5), "skip_output": False}
    for rows, shape in ((torch.randn(20, 4), r"\(4\)"), (np.ones((20, 4, 5, 6)), r"\(4, 5, 6\)")):
        told = rf"rows of the shape {shape}, and the graph takes \(4, any\) as 'x'\."
        with pytest.raises(tp.TensorpressError, match=told):
            tp.compress_onnx(path, None, calibration=rows, **asked)


def test_arrays_that_no_input_of_a_file_asks_for_are_named(
    tmp_path: Path, command: Command
) -> None:
    path = classifier(tmp_path / "net.onnx")
    arrays = {"y": np.zeros(32), "x": images().numpy(), "z": np.zeros((32, 2))}
    np.savez(tmp_path / "more.npz", **arrays)
    asked = ["compress", "--net", path, "--energy", 0.9, "--calibrate"]
    answer = command(*asked, tmp_path / "more.npz")
    assert answer.code == 0, answer.err
    assert "no input of the network asks for y, z: left out" in answer.err.replace("\n", " ")
    np.savez(tmp_path / "other.npz", image=arrays["x"])
    answer = command(*asked, tmp_path / "other.npz")
    refused(answer)
    assert "'x' is missing" in answer.err


def test_in_int8(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {"classes": "a,b,c,d,e"})
    onnx.save(model, path)
    asked: dict[str, Any] = {"method": "ttpwt", "budget": tp.Budget(macs=1.5)}
    asked |= {"calibration": images(), "skip_output": False, "precision": "int8"}
    small = tmp_path / "small.onnx"
    account = tp.compress_onnx(path, small, keep_float=["head"], min_agreement=0.5, **asked)
    assert account.int8 is not None
    assert account.int8.int8_layers is not None
    made, count = account.int8.int8_layers
    assert made == count - 1
    assert f"int8: {made} of {count} layers" in str(account)
    assert account.to_dict()["int8"]["layers"] == (made, count)
    written = onnx.load(small)
    assert any(n.op_type == "QuantizeLinear" for n in written.graph.node)
    assert written.graph.input == model.graph.input
    assert [o.name for o in written.graph.output] == ["y"]
    assert all(known in written.metadata_props for known in model.metadata_props)
    (output,) = account.outputs
    assert output.agreement == pytest.approx(agreement(path, small, images()))


def test_int8_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    """The classes of two outputs that differ by less than 8 bits tell are another throw."""
    path = classifier(tmp_path / "net.onnx")
    model = onnx.load(path)
    held = {initializer.name: initializer for initializer in model.graph.initializer}
    weight = numpy_helper.to_array(held["wf"])
    held["wf"].CopyFrom(numpy_helper.from_array(weight[:1] + 1e-4 * weight, "wf"))
    bias = numpy_helper.to_array(held["bf"])
    held["bf"].CopyFrom(numpy_helper.from_array(np.zeros_like(bias), "bf"))
    onnx.save(model, path)
    small = tmp_path / "small.onnx"
    asked: dict[str, Any] = {"method": "ttpwt", "budget": tp.Budget(macs=1.5)}
    with pytest.raises(tp.TensorpressError, match="agree") as raised:
        tp.compress_onnx(
            path, small, calibration=images(), skip_output=False, precision="int8", **asked
        )
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("small*"))


def test_the_file_itself_is_not_overwritten(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    with pytest.raises(tp.TensorpressError, match="another name"):
        tp.compress_onnx(path, path, rank=tp.Energy(0.9))


def test_on_the_command_line(command: Command, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", images(40).numpy())
    answer = command(
        *("compress", "--net", path, "--calibrate", tmp_path / "images.npy", "--method", "ttpwt"),
        *("--budget-macs", 1.5, "--no-skip-output", "-o", tmp_path / "OUT"),
    )
    assert answer.code == 0, answer.err
    assert "output 'y': relative error" in answer.out
    assert {file.name for file in (tmp_path / "OUT").iterdir()} == {
        *("model.onnx", "account.json", "account.txt")
    }
    small = read_graph_network(tmp_path / "OUT" / "model.onnx")
    assert isinstance(small, GraphNetwork)
    again = command("compress", "--net", tmp_path / "OUT" / "model.onnx", "--energy", 0.9)
    assert again.code == 0, again.err


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--data", "digits", "-o", "RUN"),
        ("compress", "--energy", "0.9", "--weights", "w.pth"),
        ("compress", "--energy", "0.9", "--store-as", "float16"),
        ("compress", "--budget-params", "2", "--methods", "l1"),
        ("compress", "--energy", "0.9", "--precision", "int8"),
        ("bench",),
    ],
)
def test_what_files_of_onnx_do_not_take(
    words: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    refused(command(*words, "--net", classifier(tmp_path / "net.onnx")))


def refused(answer: Answer) -> None:
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
