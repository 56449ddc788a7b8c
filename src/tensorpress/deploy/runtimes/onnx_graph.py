"""A network as an ONNX graph whose factorized layers can be executed in any way."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.deploy.execution import Execution, executions_of, realise
from tensorpress.deploy.runtimes.onnx_marks import by_output, layer_named_by
from tensorpress.extras import import_runtimes
from tensorpress.graphs.nodes import KINDS, MARK, add_weight, takes_inputs_first
from tensorpress.layers import plain_chain
from tensorpress.layers.kinds import dimensions, groups_of, is_linear, works_along

FUSED = (
    *("Add", "BatchNormalization", "Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul"),
    *("PRelu", "Relu", "Sigmoid", "Tanh"),
)


class OnnxGraph:
    """The graph of a network with its factorized layers to be put in.

    Attributes:
        model: the ``onnx_ir.Model`` that :func:`export_dense` gave.
        chains: the sublayers of each factorized layer, by its name.
    """

    def __init__(self, model: Any, chains: Mapping[str, Iterable[nn.Module]]) -> None:
        self.model = model
        self.chains = {name: plain_chain(chain) for name, chain in chains.items()}

    def rearranged(self, chains: Mapping[str, Iterable[nn.Module]]) -> "OnnxGraph":
        """The same graph with other chains for some of its factorized layers."""
        other = copy.copy(self)
        other.chains = self.chains | {name: plain_chain(chain) for name, chain in chains.items()}
        return other

    def variant(self, choice: Mapping[str, Execution]) -> tuple[Any, dict[str, str]]:
        """The graph with its layers executed as chosen; those not in ``choice`` are dense.

        Returns:
            the ``onnx.ModelProto``, and the layer that a node belongs to, as :meth:`executed` has
            them.
        """
        model, owners = self.executed(choice)
        onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
        onnx_ir.external_data.load_to_model(model)  # which a graph in memory does not find
        proto = onnx_ir.to_proto(model)
        del proto.graph.value_info[:]
        return proto, owners

    def executed(self, choice: Mapping[str, Execution]) -> tuple[Any, dict[str, str]]:
        """The same as an ``onnx_ir.Model``.

        Returns:
            the graph, and the layer that a node belongs to, by the names of the node and of its
            output. What runtimes may fuse into a layer is the layer's, too: an activation, sum or
            factor.
        """
        onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
        model = self.model.clone()
        owners: dict[str, str] = {}
        weights: dict[tuple[str, int, bytes], Any] = {}
        for node in list(model.graph):
            layer = node.metadata_props.get(MARK)
            made = [node]
            if layer is not None:
                execution = choice.get(layer) or executions_of(self.chains[layer])[0]
                made = self._chain(model, node, layer, execution, weights)
                onnx_ir.convenience.replace_nodes_and_values(
                    model.graph, node, [node], made, node.outputs, made[-1].outputs
                )
            elif node.op_type in FUSED:
                values = (value.name for value in node.inputs if value is not None)
                layer = next((owners[value] for value in values if value in owners), None)
            if layer is not None:
                owners |= dict.fromkeys(
                    (key for n in made for key in (n.name, n.outputs[0].name)), layer
                )
        return model, owners

    def _chain(
        self,
        model: Any,
        node: Any,
        layer: str,
        execution: Execution,
        weights: dict[tuple[str, int, bytes], Any],
    ) -> list[Any]:
        """The nodes of a layer executed as ``execution``; calls of a layer share ``weights``."""
        onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
        value, scale, *bias = node.inputs
        del model.graph.initializers[scale.name]
        factors = torch.tensor(scale.const_value.numpy())
        parts: list[Any] = realise(self.chains[layer], execution)
        made: list[Any] = []
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            name = f"{layer}/{node.name}/{number}"
            key = (layer, number, scale.const_value.tobytes() if last else b"")
            if key not in weights:
                kernel = _kernel(part, node, factors if last else None)
                weights[key] = add_weight(model, f"{name}/weight", kernel)
            made.append(
                onnx_ir.Node(
                    "",
                    node.op_type,
                    [value, weights[key], *(bias if last else ())],
                    _attributes(part, node),
                    name=name,
                    outputs=[onnx_ir.Value(name=f"{name}/out")],
                )
            )
            value = made[-1].outputs[0]
        return made


def layer_names(model: Any, owners: Mapping[str, str]) -> dict[str, str]:
    """The layer that each node with weights of an ``onnx.ModelProto`` belongs to, by their names.

    Args:
        owners: as :meth:`OnnxGraph.variant` gives them; of others :func:`layer_named_by` tells.
    """
    held = {value.name for value in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type in KINDS and node.input[1] in held:
            layer = owners.get(node.name)
            named = layer_named_by(node.input[1], node.name)
            found[node.name] = named if layer is None else layer
    return found


def _kernel(part: Any, node: Any, scale: Tensor | None) -> Tensor:
    """The weight of a sublayer as such a node takes it, its output channels multiplied."""
    kernel: Tensor = part.weight.detach()
    kernel = kernel.T if is_linear(part) and takes_inputs_first(node) else kernel
    if scale is None:
        return kernel
    scaled = kernel.to(torch.float64, copy=True)
    rows = by_output(scaled, node, groups_of(part))
    rows *= scale.reshape(*rows.shape[:2], *[1] * (rows.ndim - 2))
    return scaled.to(kernel.dtype)


def _attributes(part: Any, node: Any) -> list[Any]:
    """A sublayer's attributes, with the dense layer's padding on the axes that it works along.

    Padding other than with zeros stands before the layer in the graph, for all axes at once. What
    is padded automatically is so along each axis by itself.
    """
    if is_linear(part):
        return list(node.attributes.values())
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    dims = dimensions(part)
    mine = [works_along(part, axis) for axis in range(dims)]
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    sized = ("output_padding",) if auto != "NOTSET" else ("pads", "output_padding")
    geometry = {
        name: [size if mine[at % dims] else 0 for at, size in enumerate(sizes)]
        for name in sized
        if (sizes := node.attributes.get_ints(name)) is not None
    }
    geometry |= {
        "kernel_shape": part.kernel_size,
        "strides": part.stride,
        "dilations": part.dilation,
    }
    return [
        *([] if auto == "NOTSET" else [onnx_ir.AttrString("auto_pad", auto)]),
        onnx_ir.AttrInt64("group", part.groups),
        *(onnx_ir.AttrInt64s(name, sizes) for name, sizes in geometry.items()),
    ]
