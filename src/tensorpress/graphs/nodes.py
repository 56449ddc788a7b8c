"""What the nodes of convolutions and linear layers have in common."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from tensorpress.extras import import_runtimes
from tensorpress.graphs.constants import OPTIONAL_INPUTS

KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
QUANTISED = (
    *("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "MatMulNBits"),
    *("QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"),
)
"""Nodes that compute with quantised numbers."""
MARK = "tensorpress"
"""The key in a node's metadata under which the name of its layer stands."""


def is_kind(node: Any) -> bool:
    """Whether a node is a convolution or linear layer of ONNX itself."""
    return node.op_type in KINDS and node.domain in ("", "ai.onnx")


def takes_inputs_first(node: Any) -> bool:
    """Whether a node's weight is (in, out/groups, ...), not (out, in/groups, ...)."""
    if node.op_type == "Gemm":
        return not node.attributes.get_int("transB", 0)
    return node.op_type in ("ConvTranspose", "MatMul")


def add_weight(model: Any, name: str, weight: Tensor) -> Any:
    """A new initializer of a model's graph, which is none of its inputs."""
    _unlist_weights(model)
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    tensor = onnx_ir.tensor(weight.detach().contiguous().numpy(), name=name)
    value = onnx_ir.Value(
        name=name,
        const_value=tensor,
        shape=tensor.shape,
        type=onnx_ir.TensorType(tensor.dtype),
    )
    model.graph.register_initializer(value)
    return value


def _unlist_weights(model: Any) -> None:
    """Bring a model of an old format, which has its weights among its inputs, to one without.

    In later formats a weight that is an input may be given otherwise, so that runtimes fold none.
    """
    if model.ir_version >= OPTIONAL_INPUTS:
        return
    model.ir_version = OPTIONAL_INPUTS
    for value in model.graph.initializers.values():
        if value in model.graph.inputs:
            model.graph.inputs.remove(value)


def remove_unread(graph: Any, value: Any) -> None:
    """Take a value out of a graph that nothing reads any more, and what it alone was made of."""
    if value is None or value.uses() or value.is_graph_output():
        return
    if value.is_initializer():
        del graph.initializers[value.name]
        if value in graph.inputs:  # where old files list their weights, too
            graph.inputs.remove(value)
        return
    node = value.producer()
    if node is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
        return
    inputs = {id(read): read for read in node.inputs}  # one may be read twice
    graph.remove(node, safe=True)
    for read in inputs.values():
        remove_unread(graph, read)


def read_by(node: Any) -> list[Any]:
    """The values that a node reads, those that its bodies read from outside of them included."""
    found = [value for value in node.inputs if value is not None]
    for body in bodies_of(node):
        found += _captured(body)
    return found


def bodies_of(node: Any) -> Iterator[Any]:
    """The graphs that a node holds, such as the branches of an If."""
    for attribute in node.attributes.values():
        if attribute.type.name == "GRAPH":
            yield attribute.value
        elif attribute.type.name == "GRAPHS":
            yield from attribute.value


def _captured(body: Any) -> list[Any]:
    inside = {id(value) for value in body.inputs}
    inside |= {id(value) for value in body.initializers.values()}
    found = []
    for node in body:
        found += [value for value in read_by(node) if id(value) not in inside]
        inside.update(map(id, node.outputs))
    found += [value for value in body.outputs if value is not None and id(value) not in inside]
    return found
