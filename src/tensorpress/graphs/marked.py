"""A graph whose factorized layers are to be put back into it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tensorpress.extras import import_runtimes
from tensorpress.graphs.network import GraphNetwork
from tensorpress.graphs.nodes import MARK, add_weight, remove_unread
from tensorpress.layers import Factorized, plain_chain
from tensorpress.layers.chain import bias_of
from tensorpress.layers.kinds import out_channels
from tensorpress.layers.padded import Padded


def marked_graph(net: GraphNetwork) -> Any:
    """The user's graph, the node of each factorized layer marked with the layer's name.

    Such a node holds, in the place of its kernel, what the kernel of each output channel is to be
    multiplied with: ones. Its bias is that of the chain. All else is as it was read; weights that
    no node reads any more are gone. Where the network gives logits, so does the graph.
    """
    structure = net.structure
    model = structure.model.clone()
    graph = model.graph
    nodes = list(graph)
    if net.gives_logits:
        _give(graph, structure.logits)
    biases: dict[str, Any] = {}
    taken = {value.name for node in nodes for value in node.outputs}
    taken |= {value.name for value in graph.inputs} | set(graph.initializers)
    for layer in structure.layers:
        module = net.get_submodule(layer.name)
        chain = module.layer if isinstance(module, Padded) else module
        if not isinstance(chain, Factorized):
            continue
        node = nodes[layer.node]
        node.metadata_props[MARK] = layer.name if chain is module else f"{layer.name}.layer"
        old = list(node.inputs[1:])
        if layer.name not in biases:
            bias = _bias(chain)
            name = _free(taken, f"{layer.name}/bias")
            if bias is not None and len(old) < 2 and not bias.any():
                bias = None
            biases[layer.name] = None if bias is None else add_weight(model, name, bias)
        scale = torch.ones(out_channels(plain_chain(chain)[-1]))
        node.replace_input_with(1, add_weight(model, _free(taken, f"{layer.name}/scale"), scale))
        node.resize_inputs(2 if biases[layer.name] is None else 3)
        if biases[layer.name] is not None:
            node.replace_input_with(2, biases[layer.name])
        if node.op_type == "Gemm":
            _make_plain(node)
        for value in old:
            remove_unread(graph, value)
    return model


def _give(graph: Any, names: Sequence[str]) -> None:
    """Have these values for outputs; those in the place of others are of the same type and size."""
    made = {value.name: value for node in graph for value in node.outputs}
    for place, name in enumerate(names):
        was = graph.outputs[place]
        if was.name != name:
            value = made[name]
            value.type, value.shape = was.type, was.shape
            graph.outputs[place] = value


def _bias(chain: Factorized) -> Tensor | None:
    last = chain[-1]
    return None if getattr(last, "bias", None) is None else bias_of(chain).detach()


def _make_plain(node: Any) -> None:
    """A Gemm whose factors are in its weights, which are (out, in)."""
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    for name in list(node.attributes):
        del node.attributes[name]
    node.attributes["transB"] = onnx_ir.AttrInt64("transB", 1)


def _free(taken: set[str], name: str) -> str:
    """A name that no value of the graph has."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
