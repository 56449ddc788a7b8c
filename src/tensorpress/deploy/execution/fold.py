"""Batch norms folded into the layer before them, where that is exact."""

import copy
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from tensorpress.deploy.execution.module_graph import trace_modules
from tensorpress.deploy.feed import Feed
from tensorpress.layers import Factorized
from tensorpress.layers.eligible import is_hooked
from tensorpress.layers.kinds import dimensions, is_plain, kernel_of, weight_for
from tensorpress.surgery import replace_layers

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Folded(NamedTuple):
    """A copy of a network with batch norms folded.

    Attributes:
        norms: the names of those that are.
        reads_sizes: whether the forward has read sizes, so that other inputs may take another path.
    """

    net: nn.Module
    norms: frozenset[str]
    reads_sizes: bool


def fold_batch_norms(net: nn.Module, feed: Feed) -> Folded:
    """A copy of ``net``, in eval mode, with batch norms folded.

    A batch norm is folded into a convolution, a linear layer or the last sublayer of a factorized
    one where that layer feeds nothing else, both are called once, and the batch norm has running
    statistics. Layers with hooks or shared weights stay as they are, and so does a network whose
    graph cannot be traced.

    Args:
        net: the network.
        feed: inputs of the sizes that it is called with.
    """
    net = copy.deepcopy(net).eval()
    traced = trace_modules(net, feed)
    if traced is None:
        return Folded(net, frozenset(), reads_sizes=False)
    pairs = _foldable(net, traced.graph, feed)
    for layer, norm in pairs.values():
        _fold(layer, norm)
    new: dict[str, nn.Module] = {name: nn.Identity() for name in pairs}
    return Folded(replace_layers(net, new), frozenset(pairs), traced.reads_sizes)


def foldable_norms(net: nn.Module, feed: Feed) -> frozenset[str]:
    """The batch norms of ``net``, in eval mode, that may be folded for inputs of these sizes."""
    traced = trace_modules(net, feed)
    return frozenset() if traced is None else frozenset(_foldable(net, traced.graph, feed))


def _foldable(net: nn.Module, graph: fx.Graph, feed: Feed) -> dict[str, tuple[Any, Any]]:
    """The layer and the norm to fold into it, by the norm's name."""
    modules = dict(net.named_modules())
    called = {node: modules[str(node.target)] for node in graph.nodes if node.op == "call_module"}
    calls = Counter(called.values())
    dims = _input_dims(net, feed)
    tied = _tied(net, graph)
    found: dict[str, tuple[Any, Any]] = {}
    for node, norm in called.items():
        if not isinstance(norm, NORMS) or norm.running_mean is None or calls[norm] > 1:
            continue
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in called or len(source.users) > 1:
            continue
        fed = called[source]
        layer: Any = fed[-1] if isinstance(fed, Factorized) else fed
        if not is_plain(layer) or calls[fed] + calls[layer] * (layer is not fed) > 1:
            continue
        # A norm works on the second axis, which of a linear layer need not be that of its outputs.
        if dims.get(norm) != 2 + dimensions(layer):
            continue
        if id(layer.weight) in tied or is_hooked(norm, fed, layer):
            continue
        found[str(node.target)] = (layer, norm)
    return found


def _input_dims(net: nn.Module, feed: Feed) -> dict[nn.Module, int]:
    """The number of dimensions that each batch norm is fed."""
    dims: dict[nn.Module, int] = {}

    def note(norm: nn.Module, args: tuple[Any, ...]) -> None:
        if args:
            dims[norm] = args[0].dim()

    norms = [module for module in net.modules() if isinstance(module, NORMS)]
    hooks = [norm.register_forward_pre_hook(note) for norm in norms]
    try:
        with torch.no_grad():
            net(*feed.args, **feed.kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return dims


def _tied(net: nn.Module, graph: fx.Graph) -> set[int]:
    """The parameters that more than one layer has, or that the network's own code reads."""
    held = Counter(id(p) for module in net.modules() for p in module._parameters.values())
    read = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    names = net.named_parameters(remove_duplicate=False)
    return {id(p) for name, p in names if name in read or held[id(p)] > 1}


@torch.no_grad()
def _fold(layer: Any, norm: Any) -> None:
    weight = layer.weight
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double()
        shift = shift + norm.bias.double()
    if layer.bias is not None:
        shift = shift + scale * layer.bias.double()
    kernel = kernel_of(layer).double()
    weight.copy_(weight_for(layer, kernel * scale.reshape(-1, *[1] * (kernel.dim() - 1))))
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
