"""Small ONNX files, made node by node."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = Any


def weight(name: str, *shape: int, seed: int = 0) -> Array:
    """Values of about the size that keeps maps as they are."""
    draw = np.random.default_rng(seed + sum(map(ord, name)))
    fan_in = max(int(np.prod(shape[1:])), 1)
    return (draw.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    *,
    inputs: Mapping[str, Sequence[int | str]] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    ir_version: int = 9,
    **more: Any,
) -> Path:
    """A file with these nodes; by default it takes "x", (N, 6, 9, 9), and gives "y"."""
    taken = inputs or {"x": ("N", 6, 9, 9)}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in taken.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version, **more)
    onnx.save(model, path)
    return path


def classifier(path: Path, *, batch: int | str = "N", opset: int = 17) -> Path:
    """Three convolutions, a sum, and probabilities of five classes."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="first", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"]),
        node("Conv", ["r2", "w3"], ["c3"], name="third", pads=[1] * 4),
        node("Add", ["c3", "r1"], ["s"]),
        node("Relu", ["s"], ["r3"]),
        node("GlobalAveragePool", ["r3"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "wf", "bf"], ["logits"], name="head", transB=1),
        node("Softmax", ["logits"], ["y"], axis=-1),
    ]
    weights = {
        "w1": weight("w1", 12, 3, 3, 3),
        "b1": weight("b1", 12),
        "w2": weight("w2", 16, 12, 3, 3),
        "b2": weight("b2", 16),
        "w3": weight("w3", 12, 16, 3, 3),
        "wf": 4 * weight("wf", 5, 12),
        "bf": weight("bf", 5),
    }
    return write(path, nodes, weights, inputs={"x": (batch, 3, 10, 10)}, opset=opset)


def one_layer(path: Path, taken: Sequence[int | str], outside: int = 8) -> Path:
    """A convolution alone."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="one", pads=[1] * 4)]
    weights = {"w": weight("w", outside, int(taken[1]), 3, 3)}
    return write(path, nodes, weights, inputs={"x": taken})


def channels_last(path: Path, taken: Sequence[int | str]) -> Path:
    """Two convolutions of images whose channels come last."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w"], ["c"], name="one", pads=[1] * 4),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "v"], ["d"], name="two", pads=[1] * 4),
        node("GlobalAveragePool", ["d"], ["p"]),
        node("Flatten", ["p"], ["y"]),
    ]
    weights = {"w": weight("w", 16, 3, 3, 3), "v": weight("v", 16, 16, 3, 3)}
    return write(path, nodes, weights, inputs={"x": taken})


def bodies(path: Path) -> Path:
    """An If with a convolution in it, one with a quantised weight and one with a computed one."""
    node = helper.make_node
    kernel = weight("w", 6, 6, 3, 3)
    branch = helper.make_graph(
        [node("Conv", ["x", "inner"], ["then"], name="hidden", pads=[1] * 4)],
        "branch",
        [],
        [helper.make_tensor_value_info("then", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "inner")],
    )
    other = helper.make_graph(
        [node("Neg", ["x"], ["else"])],
        "other",
        [],
        [helper.make_tensor_value_info("else", TensorProto.FLOAT, None)],
    )
    scale, zero = np.array(0.01, np.float32), np.array(0, np.int8)
    nodes = [
        node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Greater", ["top", "nothing"], ["is_high"]),
        node("If", ["is_high"], ["i"], name="if", then_branch=branch, else_branch=other),
        node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        node("Conv", ["i", "dq"], ["c"], name="quantised", pads=[1] * 4),
        node("Mul", ["w", "top"], ["scaled"]),
        node("Conv", ["c", "scaled"], ["d"], name="computed", pads=[1] * 4),
        node("Conv", ["d", "w"], ["y"], name="plain"),
    ]
    weights = {
        "w": kernel,
        "nothing": np.array(0, np.float32),
        "q": (100 * kernel).astype(np.int8),
        "scale": scale,
        "zero": zero,
    }
    return write(path, nodes, weights)
