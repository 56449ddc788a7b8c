"""int8 chosen together with the layers of an ONNX file, which is written as it was chosen."""

from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from graph_files import channels_last, classifier
from onnx import helper
from torch import Tensor

import tensorpress as tp
from tensorpress.compression.prepared import Prepared
from tensorpress.deploy.planning.quantised_network import QuantisedNetwork
from tensorpress.graphs import read_graph_network

pytestmark = pytest.mark.usefixtures("measured_once")

node = helper.make_node
CHOSEN = tp.Budget(output_error=0.3, runtime="onnxruntime", precisions=("int8",))


def images(count: int = 48, seed: int = 0) -> Tensor:
    """Of many colours, so that answers differ."""
    generator = torch.Generator().manual_seed(seed)
    colours = 2 * torch.randn(count, 3, 1, 1, generator=generator)
    return colours + torch.randn(count, 3, 10, 10, generator=generator)


def answers(path: Path, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    return torch.from_numpy(session.run(None, {taken.name: x.numpy()})[0])


def test_the_file_is_written_as_it_was_chosen(tmp_path: Path) -> None:
    path, small = classifier(tmp_path / "net.onnx"), tmp_path / "small.onnx"
    account = tp.compress_onnx(
        path, small, method="ttpwt", budget=CHOSEN, calibration=images(), progress=False
    )
    chosen = account.precision
    assert chosen is not None
    assert account.int8 is not None
    assert chosen.name == "int8"
    assert account.int8.int8_layers == (chosen.in_int8, chosen.layers)
    assert account.quality is not None
    assert account.quality.value <= 0.3
    assert any(one.op_type == "QuantizeLinear" for one in onnx.load(small).graph.node)
    unseen = images(64, seed=1)
    agreed = (answers(path, unseen).argmax(1) == answers(small, unseen).argmax(1)).float().mean()
    assert agreed > 0.8


def test_what_loses_nothing_is_asked_for_stays_in_float(tmp_path: Path) -> None:
    path, small = classifier(tmp_path / "net.onnx"), tmp_path / "small.onnx"
    budget = tp.Budget(output_error=1e-5, runtime="onnxruntime", precisions=("auto", "int8"))
    account = tp.compress_onnx(
        path, small, method="ttpwt", budget=budget, calibration=images(), progress=False
    )
    assert account.precision is not None
    assert account.precision.name == "auto"
    assert account.int8 is None
    unseen = images(64, seed=1)
    torch.testing.assert_close(answers(small, unseen), answers(path, unseen))


@pytest.mark.parametrize("gives_logits", [False, True])
def test_a_network_in_int8_gives_what_the_network_gives(gives_logits: bool, tmp_path: Path) -> None:
    """Logits where those are compared, in the place of probabilities."""
    model = onnx.load(classifier(tmp_path / "net.onnx"))
    (output,) = model.graph.output
    output.CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ("N", 5)))
    onnx.save(model, tmp_path / "net.onnx")
    net = read_graph_network(tmp_path / "net.onnx")
    net.gives_logits = gives_logits
    made = QuantisedNetwork(net, images(1), images(), runtime="onnxruntime", threads=1)
    wanted, found = net(images(seed=1)), made.executed()(images(seed=1))
    assert bool((wanted.sum(1) - 1).abs().max() < 1e-4) is not gives_logits
    error = (found - wanted).norm() / (wanted - wanted.mean(0)).norm()
    assert error < 0.2


def test_probabilities_are_not_rounded_to_steps(tmp_path: Path) -> None:
    path, small = classifier(tmp_path / "net.onnx"), tmp_path / "small.onnx"
    tp.compress_onnx(
        path, small, rank=tp.Energy(0.9), calibration=images(), precision="int8", min_agreement=0
    )
    assert len(answers(small, images(200, seed=1)).unique()) > 256
    ends = [node.op_type for node in onnx.load(small).graph.node if "y" in node.output]
    assert ends == ["Softmax"]


@pytest.mark.parametrize("also", ["logits", "x"])
def test_logits_that_are_asked_for_besides(also: str, tmp_path: Path) -> None:
    """As outputs of their own, or as inputs of the graph."""
    made = [helper.make_node("Softmax", [also], ["z"], axis=-1)]
    model = onnx.load(classifier(tmp_path / "net.onnx"))
    shape = ("N", 5)
    if also == "x":
        model.graph.input.append(
            helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, shape)
        )
        made[0].input[0] = "more"
    model.graph.node.extend(made)
    outputs = ["y", "z", "logits"] if also == "logits" else ["y", "z"]
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in outputs
    )
    onnx.save(model, tmp_path / "net.onnx")
    given = {"x": images().numpy(), "more": images()[:, :1, 0, :5].flatten(1).numpy()}
    account = tp.compress_onnx(
        tmp_path / "net.onnx", tmp_path / "small.onnx", method="ttpwt", budget=CHOSEN,
        calibration=given if also == "x" else images(), progress=False,
    )  # fmt: skip
    assert [output.name for output in account.outputs] == outputs


def test_images_whose_channels_come_last(tmp_path: Path) -> None:
    path = channels_last(tmp_path / "net.onnx", ("N", 10, 10, 3))
    account = tp.compress_onnx(
        path, tmp_path / "small.onnx", method="ttpwt", budget=CHOSEN, calibration=images(),
        progress=False,
    )  # fmt: skip
    assert account.precision is not None
    x = images(seed=1).movedim(1, -1).contiguous()
    wanted, found = answers(path, x), answers(tmp_path / "small.onnx", x)
    assert (found - wanted).norm() / (wanted - wanted.mean(0)).norm() < 0.4


@pytest.mark.parametrize(
    "asked",
    [{"budget": CHOSEN}, {"rank": tp.Energy(0.9), "precision": "int8"}],
    ids=["chosen", "asked for"],
)
def test_a_fixed_batch_is_told_before_the_work(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = classifier(tmp_path / "net.onnx", batch=4)
    monkeypatch.setattr(Prepared, "announce", None)  # with which the work begins
    with pytest.raises(tp.TensorpressError, match="takes 4 at once") as raised:
        tp.compress_onnx(path, None, calibration=images(), **asked)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"budget": tp.Budget(speedup=2, runtime="openvino", precisions=("int8",))},
         "chosen and written in onnxruntime"),
        ({"budget": CHOSEN, "precision": "int8"}, "whatever its time: in its place give"),
        ({"budget": CHOSEN, "keep_float": ["one"]}, "keep_float"),
        ({"budget": CHOSEN, "min_agreement": 2}, "give a share"),
    ],
)  # fmt: skip
def test_what_is_not_chosen(asked: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    with pytest.raises(tp.TensorpressError, match=told):
        tp.compress_onnx(path, None, calibration=images(), **asked)
