"""A file of ONNX as a network."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tensorpress.errors import TensorpressError, first_line
from tensorpress.extras import import_runtimes
from tensorpress.graphs.constants import Constants
from tensorpress.graphs.file import has_channels_last, inputs_of, read_model
from tensorpress.graphs.geometry import Left
from tensorpress.graphs.layers import layer_of
from tensorpress.graphs.network import GraphNetwork, Input, Layer, Part, Structure
from tensorpress.graphs.nodes import KINDS, QUANTISED, bodies_of, is_kind
from tensorpress.graphs.segments import Segment, Stage, cut
from tensorpress.graphs.sessions import session_of
from tensorpress.graphs.weights import LayerWeights, OtherWeights

OTHER_LAYERS = (
    *("LSTM", "GRU", "RNN", "Einsum", "DeformConv", "Attention"),
    *("FusedConv", "FusedGemm", "FusedMatMul", "TransposeMatMul", "NhwcFusedConv"),
)
"""Nodes that hold weights as layers do, and are none that could be decomposed."""
DTYPES = {
    "float": (torch.float32, "FLOAT"),
    "double": (torch.float64, "DOUBLE"),
    "float16": (torch.float16, "FLOAT16"),
    "int64": (torch.int64, "INT64"),
    "int32": (torch.int32, "INT32"),
    "int16": (torch.int16, "INT16"),
    "int8": (torch.int8, "INT8"),
    "uint8": (torch.uint8, "UINT8"),
    "bool": (torch.bool, "BOOL"),
}
"""Of tensors by ONNX Runtime's name: PyTorch's, and that of ONNX."""
AS_ALONE = 1e-4
MOST_VALUES = 2**31
"""Of an input; a file that says more is damaged."""


def read_graph_network(path: str | os.PathLike[str]) -> GraphNetwork:
    """The graph in an ONNX file as a network, its weights read.

    Raises:
        TensorpressError: a file that is none, or a graph that ONNX Runtime does not take.
    """
    model = read_model(path)
    try:
        return _network(model, Path(path))
    except TensorpressError:
        raise
    except Exception as error:  # of ONNX Runtime, or of what makes no sense in a file
        raise TensorpressError(f"ONNX Runtime does not take {path}: {_reason(error)}") from error


def _network(model: Any, path: Path) -> GraphNetwork:
    constants = Constants(model)
    found = _Found.of(model, constants)
    rows = [_logits(value) for value in model.graph.outputs]
    stages = cut(model.graph, list(found.names), constants, rows)
    cuts = [value for stage in stages for value in stage.outputs.values()]
    cuts += [node.outputs[0] for stage in stages for node in stage.layers]
    outputs = [value for value in model.graph.outputs if value not in constants]
    session = session_of(model, inputs_of(model), _once([*cuts, *outputs]))
    kinds = {value.name: _kind(path, value) for value in session.get_outputs()}
    inputs = tuple(
        Input(value.name, tuple(_size(s) for s in value.shape), DTYPES[_kind(path, value)][0])
        for value in session.get_inputs()
    )
    for taken in inputs:
        if (size := math.prod(s or 1 for s in taken.shape)) > MOST_VALUES:
            raise TensorpressError(
                f"{path} takes {size:,} numbers at once as '{taken.name}': is it damaged?"
            )
    kinds |= {value.name: _kind(path, value) for value in session.get_inputs()}
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    types = {
        name: onnx_ir.TensorType(onnx_ir.DataType[DTYPES[kind][1]]) for name, kind in kinds.items()
    }
    del session
    others = OtherWeights(constants, list(found.names), found.weights)
    places = {node: place for place, node in enumerate(model.graph)}
    parts = []
    for stage, last_read in zip(
        stages, _last_read(stages, [*model.graph.outputs, *rows]), strict=True
    ):
        segment = None
        if stage.outputs:
            segment = Segment(model, [*stage.inputs.values()], [*stage.outputs.values()], types)
        calls = tuple(
            Layer(
                found.names[node],
                places[node],
                node.inputs[0].name,
                node.outputs[0].name,
                node.op_type != "MatMul",
            )
            for node in stage.layers
        )
        parts.append(Part(segment, others.of(stage.nodes), calls, last_read))
    structure = Structure(
        model=model,
        digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        inputs=inputs,
        parts=tuple(parts),
        outputs=tuple(value.name for value in model.graph.outputs),
        logits=tuple(value.name for value in rows),
        constants={
            value.name: torch.from_numpy(constants.array(value).copy())  # type: ignore[union-attr]
            for value in model.graph.outputs
            if value in constants
        },
        left=found.left,
    )
    net = GraphNetwork(structure, found.layers, others.held).eval()
    net.rows = _rows(net)
    net.channels_last = has_channels_last([taken.shape for taken in inputs])
    return net


@dataclass(frozen=True)
class _Found:
    """The layers of a graph.

    Attributes:
        names: of the layer that each node calls.
        layers: by name.
        left: why other nodes stay, by name.
        weights: of the layers.
    """

    names: dict[Any, str]
    layers: dict[str, nn.Module]
    left: dict[str, str]
    weights: LayerWeights

    @classmethod
    def of(cls, model: Any, constants: Constants) -> "_Found":
        found = cls({}, {}, {}, LayerWeights(constants))
        known: dict[Any, str] = {}
        opset = model.graph.opset_imports.get("", 1)
        for number, node in enumerate(model.graph):
            name = found.free_name(node.name or f"{node.op_type}_{number}")
            if node.op_type in QUANTISED:
                found.left[name] = "quantised"
            elif node.op_type in OTHER_LAYERS and any(v in constants for v in node.inputs if v):
                found.left[name] = f"{node.op_type}, which is not decomposed"
            for body in bodies_of(node):
                found.leave_all(body, name, f"inside a body of {node.op_type}")
            if not is_kind(node) or _is_product(node, constants):
                continue
            read = [id(constants.root(value)) for value in node.inputs[1:]]
            key = (node.op_type, *read, str(sorted(node.attributes.items())))
            if key not in known:
                try:
                    layer = layer_of(node, constants, opset)
                    found.weights.share(node, layer)
                except Left as reason:
                    found.left[name] = str(reason)
                    continue
                known[key] = name
                found.layers[name] = layer
            found.names[node] = known[key]
        for function in model.functions.values():
            found.leave_all(function, function.name, f"inside the function {function.name}")
        return found

    def free_name(self, name: str) -> str:
        """A name of a node as a module can have it: without dots, and no other's."""
        name = layer_name(name)
        taken = {*self.layers, *self.left}
        while name in taken or hasattr(GraphNetwork, name) or name in GraphNetwork.OWN:
            name += "_"
        return name

    def leave_all(self, nodes: Any, name: str, reason: str) -> None:
        for node in nodes:
            if node.op_type in (*KINDS, *QUANTISED, *OTHER_LAYERS):
                inside = f"{name}/{layer_name(node.name or node.op_type)}"
                while inside in self.left:
                    inside += "_"
                self.left[inside] = reason
            for body in bodies_of(node):
                self.leave_all(body, name, reason)


def layer_name(text: str) -> str:
    """The name that a layer has whose node is called so: PyTorch keeps dots for itself."""
    return text.replace(".", "_")


def _is_product(node: Any, constants: Constants) -> bool:
    """Whether it has no weight, as in attention, or is constant itself."""
    read = [value in constants for value in node.inputs[:2]]
    return all(read) or not (any(read) or node.op_type.startswith("Conv"))


def _last_read(stages: Sequence[Stage], kept: Sequence[Any]) -> list[tuple[str, ...]]:
    """The names of the values that nothing reads after each stage, but for those to be kept."""
    last: dict[str, int] = {}
    for number, stage in enumerate(stages):
        values = [*stage.inputs.values(), *stage.outputs.values()]
        values += [value for node in stage.layers for value in (node.inputs[0], node.outputs[0])]
        last |= dict.fromkeys((value.name for value in values), number)
    for value in kept:
        last.pop(value.name, None)
    return [tuple(name for name, at in last.items() if at == n) for n in range(len(stages))]


def _logits(value: Any) -> Any:
    """What rows of probabilities alone are computed from, (N, K); other values as they are."""
    made = value.producer()
    if made is None or made.op_type != "Softmax" or made.domain not in ("", "ai.onnx"):
        return value
    logits = made.inputs[0]
    rows = value.shape is not None and len(value.shape) == 2
    alone = (
        logits.producer() is not None and not logits.is_graph_output() and len(logits.uses()) == 1
    )
    return logits if rows and alone and made.attributes.get_int("axis", -1) in (-1, 1) else value


def _once(values: Sequence[Any]) -> list[Any]:
    return list({id(value): value for value in values}.values())


def _kind(path: Path, value: Any) -> str:
    kind = str(value.type).removeprefix("tensor(").removesuffix(")")
    if kind not in DTYPES:
        raise TensorpressError(
            f"{path}: '{value.name}' is a {value.type}, which cannot be given to PyTorch."
        )
    return kind


def _size(size: Any) -> int | None:
    return size if isinstance(size, int) and size > 0 else None


@torch.no_grad()
def _rows(net: GraphNetwork) -> int | None:
    """How many inputs a graph takes at once: a size in its file may be of no account inside.

    It is where twice as many give the same for the first ones, whatever the others are.
    """
    inputs = net.structure.inputs
    fixed = net.structure.batch
    if fixed is None or any(None in taken.shape for taken in inputs):
        return fixed
    draw = torch.Generator().manual_seed(0)
    given = [_drawn(taken, draw) for taken in inputs]
    try:
        one = net(*given)
        more = [
            torch.cat([x, _others(x, draw)]) if is_batched else x
            for x, is_batched in zip(given, net.structure.batched, strict=True)
        ]
        two = net(*more)
    except Exception:  # what a Reshape makes of other sizes may be any error
        return fixed
    pairs = zip(*([x] if isinstance(x, torch.Tensor) else x for x in (one, two)), strict=True)
    same = (
        y.shape[:1] == (2 * fixed,)
        and y.shape[1:] == x.shape[1:]
        and float((y[:fixed].double() - x.double()).abs().max())
        <= AS_ALONE * max(float(x.double().abs().max()), 1e-30)
        for x, y in pairs
    )
    return None if all(same) else fixed


def _drawn(taken: Input, draw: torch.Generator) -> torch.Tensor:
    shape = tuple(size or 1 for size in taken.shape)
    if taken.dtype.is_floating_point:
        return torch.rand(shape, generator=draw).to(taken.dtype)
    return torch.zeros(shape, dtype=taken.dtype)


def _others(rows: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Of another size, so that it shows where means or such are taken of all rows."""
    if rows.dtype.is_floating_point:
        return (5 + 3 * torch.rand(rows.shape, generator=draw)).to(rows.dtype)
    return torch.ones_like(rows)


def _reason(error: Exception) -> str:
    return first_line(error).removeprefix("[ONNXRuntimeError] : ")
