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
