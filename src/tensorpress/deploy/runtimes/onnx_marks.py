"""A network as an ONNX graph in which the nodes of its factorized layers are marked."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.deploy.execution import executions_of, factorized_layers, realise
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.onnx import to_onnx
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.runtimes.onnx_wrapping import without_wrapping
from tensorpress.deploy.trace import trace
from tensorpress.errors import TensorpressError
from tensorpress.extras import import_runtimes
from tensorpress.graphs import GraphNetwork
from tensorpress.graphs.marked import marked_graph
from tensorpress.graphs.nodes import KINDS, MARK, add_weight, read_by, takes_inputs_first
from tensorpress.layers import plain_chain
from tensorpress.surgery import replace_layers
from tensorpress.surgery.state import held_bytes

MOST_BYTES = 1_900_000_000
WEIGHT = ".weight"


def export_dense(net: nn.Module, feed: Feed) -> Any:
    """The ``onnx_ir.Model`` of a network, each factorized layer a node to put its chain in for.

    Such a node is marked with the layer's name. In the place of a kernel it holds what the exporter
    multiplied the kernel of each output channel with, as it folds batch norms. Of a network that
    was read from a graph it is that graph.

    Raises:
        TensorpressError: a layer that cannot be exported, or over 1.9 GB of weights.
    """
    if isinstance(net, GraphNetwork):
        return marked_graph(net)
    size = held_bytes(net)
    if size > MOST_BYTES:
        raise TensorpressError(
            f"the network holds {size:,} bytes of weights, and an ONNX graph in memory at most "
            f"{MOST_BYTES:,}: plan it with runtime='torch'."
        )
    dense = dense_kernels({n: plain_chain(chain) for n, chain in factorized_layers(net).items()})
    net = replace_layers(copy.deepcopy(net), dense)
    names = {id(layer): name for name, layer in dense.items()}
    weights = {
        f"{alias}.weight".removeprefix("."): names[id(module)]
        for alias, module in net.named_modules(remove_duplicate=False)
        if id(module) in names
    }
    with quiet():
        program = trace(net, feed.resized(2) if feed.batch == 1 else feed)
        exported = to_onnx(program, optimize=False)
        _name_turned(exported.model)
        layers = _put_probes(exported.model, weights)
        exported.optimize()
    _take_probes(exported.model, layers)
    without_wrapping(exported.model)
    return exported.model


def dense_kernels(chains: Mapping[str, Sequence[nn.Module]]) -> dict[str, nn.Module]:
    """The one layer that each chain stands for, of those that stand for one."""
    ways = {name: executions_of(chain)[0] for name, chain in chains.items()}
    return {name: realise(chains[name], way)[0] for name, way in ways.items() if way.is_dense}


def read_graph(content: bytes) -> Any:
    """The ``onnx_ir.Model`` that was serialised."""
    modules = import_runtimes("onnx", ("onnx", "onnx_ir"))
    return modules["onnx_ir"].from_proto(modules["onnx"].ModelProto.FromString(content))


def write_graph(model: Any) -> bytes:
    """An ``onnx_ir.Model`` as :func:`read_graph` takes it."""
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    return bytes(onnx_ir.to_proto(model).SerializeToString())


def by_output(weight: Tensor, node: Any, groups: int) -> Tensor:
    """A view of a weight of such a node as (groups, out/groups, in/groups, ...)."""
    grouped = weight.view(groups, weight.shape[0] // groups, *weight.shape[1:])
    return grouped.transpose(1, 2) if takes_inputs_first(node) else grouped


def layer_named_by(weight: str, node: str) -> str:
    """The layer of a node with weights, by their names."""
    layer, _, _ = node.rpartition("/")
    return weight.removesuffix(WEIGHT) if weight.endswith(WEIGHT) or not layer else layer


def _name_turned(model: Any) -> None:
    """Give nodes whose weight is turned, and so gets another name, that of their layer as well."""
    for node in model.graph:
        origin = _origin(node) if node.op_type in KINDS else None
        if origin is not None and origin is not node.inputs[1] and origin.name.endswith(WEIGHT):
            node.name = f"{origin.name.removesuffix(WEIGHT)}/{node.name}"


def _origin(node: Any) -> Any:
    """The weight of a node as its layer holds it."""
    maker = node.inputs[1].producer()
    return maker.inputs[0] if maker is not None and maker.op_type == "Transpose" else node.inputs[1]


def _put_probes(model: Any, weights: Mapping[str, str]) -> list[str]:
    """Mark the nodes of layers, whose weights are of these names, by their place in the list given.

    Each gets a kernel of one value that no other has: what is found there later is that value times
    what the exporter folded into it, and no two nodes are taken for the same. Nodes that are fed
    constants alone keep their kernels, as the exporter computes them.
    """
    layers: list[str] = []
    fed = set(model.graph.inputs)
    for node in list(model.graph):
        if fed.isdisjoint(read_by(node)):
            continue
        fed.update(node.outputs)
        if node.op_type not in KINDS:
            continue
        origin = _origin(node)
        if origin.name in weights:
            node.metadata_props[MARK] = str(len(layers))
            layers.append(weights[origin.name])
            shape = origin.shape.numpy()[:: 1 if origin is node.inputs[1] else -1]
            probe = torch.full(shape, float(len(layers)))
            node.replace_input_with(1, add_weight(model, f"{MARK}/{len(layers)}", probe))
    return layers


def _take_probes(model: Any, layers: Sequence[str]) -> None:
    for node in model.graph:
        place = node.metadata_props.get(MARK)
        node.metadata_props.clear()
        if place is not None:
            number = int(place)
            node.metadata_props[MARK] = layers[number]
            found = torch.tensor(node.inputs[1].const_value.numpy()).double() / (number + 1)
            rows = by_output(found, node, node.attributes.get_int("group", 1))
            scale = rows.flatten(2)[..., 0].flatten()
            del model.graph.initializers[node.inputs[1].name]
            node.replace_input_with(1, add_weight(model, f"{node.name}/scale", scale))
