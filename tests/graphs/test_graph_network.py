"""A graph read as a network computes what ONNX Runtime computes; at full rank, so does the file."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from graph_files import bodies, classifier, weight, write
from onnx import helper, numpy_helper

import tensorpress as tp
from tensorpress.deploy.graph_file import write_graph_file
from tensorpress.graphs import GraphNetwork, read_graph_network
from tensorpress.layers import Factorized
from tensorpress.surgery import copy_with, survey

node = helper.make_node


def run(path: Path, *inputs: Any) -> Any:
    """The one output of a file."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    (found,) = session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))
    return found


def close(found: Any, wanted: Any, tolerance: float = 1e-5) -> bool:
    found, wanted = np.asarray(found), np.asarray(wanted)
    return found.shape == wanted.shape and bool(
        np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()
    )


def at_full_rank(net: GraphNetwork, *inputs: Any, method: str = "ttpwt") -> GraphNetwork:
    """Every layer that can be decomposed is, also where that makes it larger."""
    chains = {}
    for layer in survey(net, inputs).layers:
        if layer.obstacle is None:
            chain = tp.factorize(layer.dense, method=method, rank=tp.Energy(1.0))
            chains[layer.name] = chain if layer.apart is None else layer.apart.joined(chain)
    made = copy_with(net, chains)
    assert isinstance(made, GraphNetwork)
    return made


def chains_in(net: torch.nn.Module) -> int:
    return sum(isinstance(module, Factorized) for module in net.modules())


MAP = (2, 6, 9, 9)
KINDS: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "same padding": ({"pads": [1] * 4}, (8, 6, 3, 3), MAP),
    "uneven padding": ({"pads": [0, 1, 2, 0], "strides": [2, 1]}, (8, 6, 3, 3), MAP),
    "auto_pad, stride": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (8, 6, 3, 3), (2, 6, 9, 8)),
    "auto_pad, even kernel": ({"auto_pad": "SAME_UPPER"}, (8, 6, 2, 4), MAP),
    "auto_pad, lower": ({"auto_pad": "SAME_LOWER"}, (8, 6, 3, 3), MAP),
    "auto_pad, none": ({"auto_pad": "VALID", "strides": [2, 2]}, (8, 6, 3, 3), MAP),
    "groups and dilations": ({"group": 2, "dilations": [2, 1]}, (8, 3, 3, 3), MAP),
    "one axis": ({"pads": [1, 1]}, (8, 6, 3), (2, 6, 9)),
    "three axes": ({"pads": [1, 0, 1] * 2}, (8, 6, 3, 2, 3), (2, 6, 5, 4, 5)),
    "1x1, stride": ({"strides": [2, 2]}, (8, 6, 1, 1), MAP),
}


@pytest.mark.parametrize("case", KINDS)
@pytest.mark.parametrize("biased", [False, True])
def test_convolutions(case: str, biased: bool, tmp_path: Path) -> None:
    attributes, shape, fed = KINDS[case]
    read = ["x", "w", "b"] if biased else ["x", "w"]
    weights = {"w": weight("w", *shape)} | ({"b": weight("b", shape[0])} if biased else {})
    free: list[int | str] = ["N", fed[1], *("free" + str(n) for n in range(len(fed) - 2))]
    path = write(
        tmp_path / "net.onnx",
        [node("Conv", read, ["c"], name="layer", **attributes), node("Relu", ["c"], ["y"])],
        weights,
        inputs={"x": free},
    )
    check_full_rank(path, fed)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "output_padding": [1, 0], "pads": [1, 1, 1, 1]},
        {"group": 2, "dilations": [1, 2]},
    ],
)
def test_transposed(attributes: dict[str, Any], tmp_path: Path) -> None:
    outside = 8 // attributes.get("group", 1)
    path = write(
        tmp_path / "net.onnx",
        [node("ConvTranspose", ["x", "w", "b"], ["y"], name="layer", **attributes)],
        {"w": weight("w", 6, outside, 3, 3), "b": weight("b", 8)},
    )
    check_full_rank(path, MAP)


@pytest.mark.parametrize(
    ("read", "weights", "attributes"),
    [
        ("Gemm", {"w": weight("w", 6, 7)}, {}),
        ("Gemm", {"w": weight("w", 7, 6), "b": weight("b", 7)}, {"transB": 1, "alpha": 0.5}),
        ("Gemm", {"w": weight("w", 6, 7), "b": weight("b", 1, 7)}, {"beta": 2.0}),
        ("MatMul", {"w": weight("w", 6, 7)}, {}),
    ],
)
def test_linear(
    read: str, weights: dict[str, Any], attributes: dict[str, Any], tmp_path: Path
) -> None:
    fed = (3, 6) if read == "Gemm" else (3, 4, 6)
    path = write(
        tmp_path / "net.onnx",
        [node(read, ["x", *weights], ["y"], name="layer", **attributes)],
        weights,
        inputs={"x": ["N", *fed[1:]]},
    )
    check_full_rank(path, fed)


@pytest.mark.parametrize("opset", [11, 13, 21])
@pytest.mark.parametrize("behind", ["Identity", "Transpose", "Constant", "Cast", "Reshape"])
def test_weights_behind_other_nodes(behind: str, opset: int, tmp_path: Path) -> None:
    kernel = weight("w", 8, 6, 3, 3)
    weights: dict[str, Any] = {"w": kernel}
    if behind == "Constant":
        made = [node("Constant", [], ["k"], value=numpy_helper.from_array(kernel))]
        weights = {}
    elif behind == "Transpose":
        made = [node("Transpose", ["w"], ["k"], perm=[3, 2, 0, 1])]
        weights = {"w": kernel.transpose(2, 3, 1, 0)}
    elif behind == "Cast":
        made = [node("Cast", ["w"], ["k"], to=onnx.TensorProto.FLOAT)]
        weights = {"w": kernel.astype(np.float64)}
    elif behind == "Reshape":
        made = [node("Reshape", ["w", "s"], ["k"])]
        weights = {"w": kernel.reshape(8, -1), "s": np.array([8, 6, 3, 3])}
    else:
        made = [node("Identity", ["w"], ["k"])]
    path = write(
        tmp_path / "net.onnx",
        [*made, node("Conv", ["x", "k"], ["y"], name="layer")],
        weights,
        opset=opset,
    )
    small = check_full_rank(path, MAP)
    written = onnx.load(small).graph
    assert [n.op_type for n in written.node] == ["Conv"] * 4  # what made the weight is gone
    assert {i.name for i in written.initializer}.isdisjoint(weights)


def check_full_rank(path: Path, fed: tuple[int, ...]) -> Path:
    """The file of the chain, after all comparisons."""
    x = torch.rand(fed, generator=torch.Generator().manual_seed(0)) - 0.5
    wanted = run(path, x)
    net = read_graph_network(path)
    assert not net.structure.left
    assert close(net(x), wanted)
    full = at_full_rank(net, x)
    assert chains_in(full) == 1
    assert close(full(x), wanted)
    place = path.with_name("small.onnx")
    write_graph_file(full, place)
    assert close(run(place, x), wanted)
    return place


@pytest.mark.parametrize("method", ["spatial-svd", "cp", "kronecker", "tensor-ring", "tucker2"])
def test_other_forms(method: str, tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    x = torch.rand(2, 3, 10, 10)
    net = at_full_rank(read_graph_network(path), x, method=method)
    assert chains_in(net) >= 3
    write_graph_file(net, tmp_path / "small.onnx")
    assert close(run(tmp_path / "small.onnx", x), net(x).numpy(), 1e-4)


def test_one_segment_between_layers_in_a_row(tmp_path: Path) -> None:
    net = read_graph_network(classifier(tmp_path / "net.onnx"))
    assert [len(part.layers) for part in net.structure.parts] == [1, 1, 1, 1, 0]


def test_copies_share_what_runs_between_layers(tmp_path: Path) -> None:
    net = read_graph_network(classifier(tmp_path / "net.onnx"))
    copied = copy.deepcopy(net)
    assert copied.structure is net.structure
    x = torch.rand(3, 3, 10, 10)
    with torch.no_grad():
        copied.first.weight.zero_()
    assert not torch.equal(copied(x), net(x))


def test_counts_all_weights_once(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="layer"),
        node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        node("Mul", ["n", "g4"], ["y"]),
    ]
    weights = {name: np.ones(8, np.float32) for name in "gbmv"}
    weights |= {"w": weight("w", 8, 6, 3, 3), "g4": np.ones((8, 1, 1), np.float32)}
    net = read_graph_network(write(tmp_path / "net.onnx", nodes, weights))
    assert tp.count(net, torch.rand(MAP)).params == sum(w.size for w in weights.values())


def test_nodes_with_the_same_weights_are_one_layer(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w"], ["y"], name="two", pads=[1] * 4),
    ]
    path = write(tmp_path / "net.onnx", nodes, {"w": weight("w", 6, 6, 3, 3)})
    x = torch.rand(MAP)
    net = read_graph_network(path)
    assert [(call.name, call.node) for call in net.structure.layers] == [
        ("one", 0),
        ("one", 2),
    ]
    write_graph_file(at_full_rank(net, x), tmp_path / "small.onnx")
    assert close(run(tmp_path / "small.onnx", x), run(path, x))
    assert len(onnx.load(tmp_path / "small.onnx").graph.initializer) == 4  # not once for each


def test_the_same_weight_in_other_layers_stays(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="one", pads=[1] * 4),
        node("Conv", ["c", "w"], ["y"], name="two", strides=[2, 2]),
    ]
    path = write(tmp_path / "net.onnx", nodes, {"w": weight("w", 6, 6, 3, 3)})
    surveyed = survey(read_graph_network(path), torch.rand(MAP))
    assert {layer.obstacle for layer in surveyed.layers} == {
        "shares its parameters with another module"
    }


SHARING: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "a node of another kind": (
        [
            node("MatMul", ["x", "w"], ["h"], name="layer"),
            node("ReduceMax", ["w"], ["top"], keepdims=0),
            node("Add", ["h", "top"], ["y"]),
        ],
        {"w": weight("w", 6, 6)},
    ),
    "an embedding": (
        [
            node("Gather", ["w", "rows"], ["e"]),
            node("Add", ["x", "e"], ["h"]),
            node("Transpose", ["w"], ["turned"], perm=[1, 0]),
            node("MatMul", ["h", "turned"], ["y"], name="layer"),
        ],
        {"w": weight("w", 6, 6), "rows": np.array([1, 4])},
    ),
    "a layer that turns it": (
        [
            node("MatMul", ["x", "w"], ["h"], name="layer"),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "w"], ["y"], name="other", transB=1),
        ],
        {"w": weight("w", 6, 6)},
    ),
    "a body": (
        [
            node("MatMul", ["x", "w"], ["h"], name="layer"),
            node("ReduceMax", ["h"], ["top"], keepdims=0),
            node("Greater", ["top", "nothing"], ["is_high"]),
            node(
                "If",
                ["is_high"],
                ["y"],
                then_branch=helper.make_graph(
                    [node("MatMul", ["h", "w"], ["then"])],
                    "then",
                    [],
                    [helper.make_tensor_value_info("then", onnx.TensorProto.FLOAT, None)],
                ),
                else_branch=helper.make_graph(
                    [node("Neg", ["h"], ["else"])],
                    "else",
                    [],
                    [helper.make_tensor_value_info("else", onnx.TensorProto.FLOAT, None)],
                ),
            ),
        ],
        {"w": weight("w", 6, 6), "nothing": np.array(0, np.float32)},
    ),
}


@pytest.mark.parametrize("reader", SHARING)
def test_a_weight_that_others_read_too_stays_and_counts_once(reader: str, tmp_path: Path) -> None:
    nodes, weights = SHARING[reader]
    path = write(tmp_path / "net.onnx", nodes, weights, inputs={"x": (2, 6)})
    net = read_graph_network(path)
    x = torch.rand(2, 6)
    assert close(net(x), run(path, x))
    (layer,) = survey(net, x).layers
    assert layer.name == "layer"
    assert layer.obstacle == "shares its parameters with another module"
    assert tp.count(net, x).params == 36


def test_weights_that_are_handed_on_are_the_same(tmp_path: Path) -> None:
    """As torch.onnx writes modules that share: the second reads the weight of the first."""
    nodes = [
        node("Identity", ["w"], ["again"]),
        node("Conv", ["x", "w", "b"], ["c"], name="one", pads=[1] * 4),
        node("Conv", ["c", "again", "b"], ["d"], name="two", pads=[1] * 4),
        node("Conv", ["d", "again"], ["y"], name="three"),
    ]
    weights = {"w": weight("w", 6, 6, 3, 3), "b": weight("b", 6)}
    net = read_graph_network(write(tmp_path / "net.onnx", nodes, weights))
    assert [call.name for call in net.structure.layers] == ["one", "one", "three"]
    assert tp.count(net, torch.rand(MAP)).params == 6 * 6 * 9 + 6


def test_a_bias_that_layers_share_holds_none_of_them_back(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="one", pads=[1] * 4),
        node("Conv", ["c", "v", "b"], ["y"], name="two", pads=[1] * 4),
    ]
    weights = {name: weight(name, 6, 6, 3, 3) for name in "wv"} | {"b": weight("b", 6)}
    path = write(tmp_path / "net.onnx", nodes, weights)
    x = torch.rand(MAP)
    full = at_full_rank(read_graph_network(path), x)
    assert chains_in(full) == 2
    write_graph_file(full, tmp_path / "small.onnx")
    assert close(run(tmp_path / "small.onnx", x), run(path, x))


def test_an_input_may_be_an_output(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w"], ["y"], name="layer")]
    weights = {"w": weight("w", 6, 6, 3, 3)}
    path = write(tmp_path / "net.onnx", nodes, weights, outputs=("y", "x"))
    model = onnx.load(path)
    model.graph.output[1].CopyFrom(model.graph.input[0])
    onnx.save(model, path)
    x = torch.rand(MAP)
    net = read_graph_network(path)
    assert net.structure.inputs[0].shape == (None, 6, 9, 9)
    y, given = net(x)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert close(y, session.run(["y"], {"x": x.numpy()})[0])
    assert torch.equal(given, x)


@pytest.mark.parametrize(
    ("bias", "is_layer"), [((4,), True), ((1, 4), True), ((), True), ((4, 1), False)]
)
def test_a_bias_of_rows_is_none_of_channels(
    bias: tuple[int, ...], is_layer: bool, tmp_path: Path
) -> None:
    """Four rows of four channels, so that sizes alone do not tell."""
    path = write(
        tmp_path / "net.onnx",
        [node("Gemm", ["x", "w", "b"], ["y"], name="layer")],
        {"w": weight("w", 6, 4), "b": weight("b", *bias)},
        inputs={"x": (4, 6)},
    )
    net = read_graph_network(path)
    x = torch.rand(4, 6)
    assert close(net(x), run(path, x))
    assert net.structure.left == ({} if is_layer else {"layer": "its bias is no row"})


def test_what_stays_is_said(tmp_path: Path) -> None:
    path = bodies(tmp_path / "net.onnx")
    net = read_graph_network(path)
    assert net.structure.left == {
        "if/hidden": "inside a body of If",
        "quantised": "its weight is quantised",
        "computed": "its weight is computed",
    }
    small = tmp_path / "small.onnx"
    for x in (torch.rand(MAP), -torch.rand(MAP)):
        assert close(net(x), run(path, x))
        write_graph_file(at_full_rank(net, x), small)
        assert close(run(small, x), run(path, x))
    before, after = (list(onnx.load(file).graph.node) for file in (path, small))
    for body in (attribute.g for attribute in after[2].attribute):
        del body.value_info[:]  # the shapes of its weights, which the file did not say
    assert after[:7] == before[:7]  # to the last byte


def test_all_else_of_a_file_stays(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx", opset=13)
    model = onnx.load(path)
    model.doc_string, model.producer_name, model.model_version = "told", "someone", 7
    helper.set_model_props(model, {"classes": "a,b,c,d,e"})
    model.graph.node[1].doc_string = "an activation"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    x = torch.rand(2, 3, 10, 10)
    write_graph_file(at_full_rank(read_graph_network(path), x), tmp_path / "small.onnx")
    small = onnx.load(tmp_path / "small.onnx")
    for name in ("ir_version", "doc_string", "producer_name", "model_version"):
        assert getattr(small, name) == getattr(model, name)
    assert list(small.metadata_props) == list(model.metadata_props)
    assert sorted(map(str, small.opset_import)) == sorted(map(str, model.opset_import))
    assert list(small.graph.input) == list(model.graph.input)
    assert [o.name for o in small.graph.output] == [o.name for o in model.graph.output]
    layers = ("Conv", "Gemm")
    kept = [n for n in model.graph.node if n.op_type not in layers]
    assert [n for n in small.graph.node if n.op_type not in layers] == kept


def test_weights_outside_of_the_file_stay_outside(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    path = classifier(tmp_path / "there" / "net.onnx")
    x = torch.rand(2, 3, 10, 10)
    wanted = run(path, x)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    net = read_graph_network(path)
    assert close(net(x), wanted)
    small = tmp_path / "small.onnx"
    write_graph_file(at_full_rank(net, x), small)
    assert (tmp_path / "small.onnx.data").exists()
    assert close(run(small, x), wanted)


def test_old_files_list_their_weights_as_inputs(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx", opset=9)
    model = onnx.load(path)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    del model.graph.node[-1].attribute[:]
    answer = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 5])
    model.graph.output[0].CopyFrom(answer)
    onnx.save(model, path)
    x = torch.rand(2, 3, 10, 10)
    net = read_graph_network(path)
    assert [taken.name for taken in net.structure.inputs] == ["x"]
    small = tmp_path / "small.onnx"
    write_graph_file(at_full_rank(net, x), small)
    onnx.checker.check_model(small, full_check=True)
    assert [value.name for value in onnx.load(small).graph.input] == ["x"]
    assert close(run(small, x), run(path, x))
    assert chains_in(at_full_rank(read_graph_network(small), x)) > 0


def test_a_batch_that_is_fixed_for_good(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="layer"),
        node("Reshape", ["c", "shape"], ["y"]),
    ]
    weights = {"w": weight("w", 8, 6, 3, 3), "shape": np.array([2, -1])}
    path = write(tmp_path / "net.onnx", nodes, weights, inputs={"x": (2, 6, 9, 9)})
    net = read_graph_network(path)
    assert net.rows == 2
    x = torch.rand(5, 6, 9, 9)
    wanted = np.concatenate([run(path, x[:2]), run(path, x[2:4]), run(path, x[3:])[1:]])
    assert close(net(x), wanted)


def test_a_batch_that_is_fixed_by_the_shape_alone(tmp_path: Path) -> None:
    assert read_graph_network(classifier(tmp_path / "net.onnx", batch=1)).rows is None


def test_images_with_channels_last(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["y"], name="layer"),
    ]
    path = write(
        tmp_path / "net.onnx",
        nodes,
        {"w": weight("w", 8, 3, 3, 3)},
        inputs={"x": ("N", 9, 9, 3)},
    )
    x = torch.rand(2, 3, 9, 9)
    assert close(read_graph_network(path)(x), run(path, x.movedim(1, -1)))
