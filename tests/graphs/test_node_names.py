"""Nodes without names, and with names that layers cannot have."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graph_files import weight, write
from onnx import helper
from torch import Tensor

import tensorpress as tp
from tensorpress.compression.calibration.choosing import after_choices
from tensorpress.graphs import read_graph_network

SIZES = {"w": (16, 6, 3, 3), "v": (16, 16, 3, 3), "u": (16, 16, 3, 3)}
WEIGHTS = {name: weight(name, *sizes) for name, sizes in SIZES.items()}
ALL: dict[str, Any] = {"skip_first": False, "skip_output": False, "progress": False}


def conv(x: str, w: str, y: str, name: str, **more: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, w], [y], name=name, **(more or {"pads": [1] * 4}))


def three(path: Path, *names: str, **last: Any) -> Path:
    first, second, third = names
    nodes = [conv("x", "w", "a", first), conv("a", "v", "b", second)]
    nodes += [conv("b", "u", "y", third, **last)]
    return write(path, nodes, WEIGHTS)


def images(count: int = 48) -> Tensor:
    return torch.randn(count, 6, 9, 9, generator=torch.Generator().manual_seed(0))


def answers(path: Path) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": images(8).numpy()})[0])


@pytest.mark.parametrize("names", [("", "", ""), ("Conv_1", "", "")])
def test_int8_of_nodes_without_names(names: tuple[str, ...], tmp_path: Path) -> None:
    """Weights are rounded, and left in float32, in the layers that are meant."""
    asked: dict[str, Any] = {"rank": tp.Energy(0.9999), "calibration": images(), **ALL}
    asked |= {"precision": "int8", "min_agreement": 0}
    errors = []
    for named in (names, ("one", "two", "three")):
        path = three(tmp_path / "net.onnx", *named, auto_pad="SAME_UPPER")
        account = tp.compress_onnx(path, tmp_path / "small.onnx", **asked)
        assert account.int8 is not None
        errors.append(account.int8.fidelity["calibration"].error)
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)
    last = account.layers[-1].name
    kept = tp.compress_onnx(path, None, **asked, keep_float=[last])
    assert kept.int8 is not None
    assert kept.int8.int8_layers == (2, 3)


def test_nodes_without_names_that_share_a_weight(tmp_path: Path) -> None:
    nodes = [conv("x", "w", "a", ""), conv("a", "v", "b", ""), conv("b", "v", "y", "")]
    path = write(tmp_path / "net.onnx", nodes, {name: WEIGHTS[name] for name in "wv"})
    account = tp.compress_onnx(path, tmp_path / "small.onnx", rank=tp.Energy(0.5), **ALL)
    assert [row.method for row in account.layers] == ["ttpwt", "ttpwt"]
    same = tp.compress_onnx(path, tmp_path / "same.onnx", rank=tp.Energy(1.0), **ALL)
    assert all(output.largest < 1e-4 for output in same.outputs)


@pytest.mark.parametrize("asked", ["exclude", "include", "rank"])
def test_a_node_is_meant_by_its_own_name(asked: str, tmp_path: Path) -> None:
    path = three(tmp_path / "net.onnx", "forward", "a_b", "a.b")
    options: dict[str, Any] = {"rank": tp.Energy(0.5)}
    for node, place in [("forward", 0), ("a_b", 1), ("a.b", 2)]:
        options[asked] = {node: tp.Energy(0.5)} if asked == "rank" else [node]
        account = tp.compress_onnx(path, None, **options, **ALL)
        treated = [row.method is not None for row in account.layers]
        assert treated == [(number == place) is (asked != "exclude") for number in range(3)]
    options[asked] = {"a.*": tp.Energy(0.5)} if asked == "rank" else ["a.*"]
    account = tp.compress_onnx(path, None, **options, **ALL)
    assert (account.layers[2].method is not None) is (asked != "exclude")


def test_a_name_with_brackets_means_no_other(tmp_path: Path) -> None:
    path = three(tmp_path / "net.onnx", "conv0", "conv[0]", "c")
    account = tp.compress_onnx(path, None, rank=tp.Energy(0.5), include=["conv[0]"], **ALL)
    assert [row.method is not None for row in account.layers] == [False, True, False]


def test_a_weight_that_is_made_of_one_read_twice(tmp_path: Path) -> None:
    """As weights are standardised in the graph itself."""
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["w"], ["mean"], axes=[1, 2, 3]),
        node("Sub", ["w", "mean"], ["d"]),
        node("Mul", ["d", "d"], ["dd"]),
        node("ReduceMean", ["dd"], ["var"], axes=[1, 2, 3]),
        node("Sqrt", ["var"], ["std"]),
        node("Div", ["d", "std"], ["q"]),
        conv("x", "q", "a", "one"),
        conv("a", "v", "y", "two"),
    ]
    path = write(tmp_path / "net.onnx", nodes, {name: WEIGHTS[name] for name in "wv"})
    small = tmp_path / "small.onnx"
    account = tp.compress_onnx(path, small, rank=tp.Energy(0.5), **ALL)
    assert [row.method for row in account.layers] == ["ttpwt", "ttpwt"]
    assert {one.op_type for one in onnx.load(small).graph.node} == {"Conv"}
    tp.compress_onnx(path, small, rank=tp.Energy(1.0), **ALL)
    torch.testing.assert_close(answers(small), answers(path), rtol=1e-3, atol=1e-3)


MIXING = {
    "of all": [("ReduceMean", {"axes": [0, 1, 2, 3]}, "x")],
    "of each channel": [("ReduceMean", {"axes": [0, 2, 3]}, "x")],
    "the largest": [("ReduceMax", {"axes": [0]}, "x")],
}


@pytest.mark.parametrize("kind", MIXING)
def test_a_batch_that_is_fixed_and_mixed_is_taken_one_by_one(kind: str, tmp_path: Path) -> None:
    (made,) = MIXING[kind]
    nodes = [
        helper.make_node(made[0], ["x"], ["m"], keepdims=1, **made[1]),
        helper.make_node("Sub", ["x", "m"], ["s"]),
        conv("s", "w", "y", "one"),
    ]
    taken = {"x": (1, 6, 9, 9)}
    path = write(tmp_path / "net.onnx", nodes, {"w": WEIGHTS["w"]}, inputs=taken)
    net = read_graph_network(path)
    assert net.rows == 1
    x = images(4)
    one_by_one = torch.cat([net(row) for row in x.split(1)])
    torch.testing.assert_close(net(x), one_by_one)
    nodes = [conv("x", "w", "y", "one")]
    path = write(tmp_path / "apart.onnx", nodes, {"w": WEIGHTS["w"]}, inputs=taken)
    assert read_graph_network(path).rows is None


def test_layers_that_are_not_decomposed_are_named(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        conv("x", "w", "a", "one"),
        node("Einsum", ["a", "e"], ["b"], name="mixes", equation="nchw,cd->ndhw"),
        conv("b", "v", "y", "two"),
    ]
    weights = {"w": WEIGHTS["w"], "e": weight("e", 16, 16), "v": WEIGHTS["v"]}
    account = tp.compress_onnx(
        write(tmp_path / "n.onnx", nodes, weights), None, rank=tp.Energy(0.5)
    )
    assert account.left == {"mixes": "Einsum, which is not decomposed"}
    assert "Einsum, which is not decomposed" in str(account)


def test_constants_that_are_read_over_and_over_are_read_once(tmp_path: Path) -> None:
    """Each of the sums reads the one before it twice: 2^40 ways lead to the first."""
    node = helper.make_node
    nodes = [node("Add", ["w" if n == 0 else f"k{n}"] * 2, [f"k{n + 1}"]) for n in range(40)]
    nodes += [
        node("Mul", ["k40", "tiny"], ["q"]),
        conv("x", "q", "a", "one"),
        conv("a", "v", "y", "two"),
    ]
    weights = {"w": WEIGHTS["w"], "v": WEIGHTS["v"], "tiny": np.float32([2.0**-40])}
    path = write(tmp_path / "net.onnx", nodes, weights)
    account = tp.compress_onnx(path, tmp_path / "s.onnx", rank=tp.Energy(0.5), **ALL)
    assert [row.method for row in account.layers] == ["ttpwt", "ttpwt"]


def test_rows_that_a_graph_chooses_by_what_a_layer_gave(tmp_path: Path) -> None:
    """And not those that follow its shape, or constants."""
    node = helper.make_node
    nodes = [
        conv("x", "w", "a", "one"),
        node("Shape", ["a"], ["shape"]),
        node("Gather", ["shape", "first"], ["n"], axis=0),
        node("Gather", ["a", "few"], ["b"], axis=1),
        conv("b", "v", "c", "two"),
        node("ReduceMax", ["c"], ["m"], axes=[2, 3], keepdims=0),
        node("TopK", ["m", "eight"], ["values", "best"], axis=1),
        node("Gather", ["best", "first"], ["row"], axis=0),
        node("Gather", ["c", "row"], ["d"], axis=1),
        node("Reshape", ["d", "to"], ["e"]),
        conv("e", "u", "y", "three"),
    ]
    weights = {name: WEIGHTS[name] for name in "w"}
    weights |= {"v": weight("v", 16, 16, 3, 3), "u": weight("u", 16, 8, 3, 3)}
    weights |= {"first": np.int64(0), "few": np.arange(16), "eight": np.int64([8])}
    weights |= {"to": np.int64([-1, 8, 9, 9])}
    net = read_graph_network(write(tmp_path / "net.onnx", nodes, weights))
    assert after_choices(net, ["one", "two", "three"], images(2)) == {"three"}
