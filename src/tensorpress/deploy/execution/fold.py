"""Batch norms folded into the layer before them, where that is exact."""

import copy
import inspect
from collections import Counter
from typing import Any

import torch
from torch import fx, nn

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.quiet import quiet
from tensorpress.layers import Factorized, TTConv2d
from tensorpress.surgery import replace_layers

FOLDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Tracer(fx.Tracer):
    """Sees a factorised or tensorised layer as one."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, (Factorized, TTConv2d))
        return whole or super().is_leaf_module(m, module_qualified_name)


def trace_modules(net: nn.Module, feed: Feed) -> fx.Graph | None:
    """How the modules of a network feed each other when it is called with these inputs.

    None where that depends on the values of the inputs.
    """
    try:
        signature = inspect.signature(net.forward)
        given = signature.bind(*feed.args, **feed.kwargs).arguments
        left_out = {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if name not in given and parameter.default is not parameter.empty
        }
        with quiet():
            return _Tracer().trace(net, left_out or None)
    except Exception:  # whatever a forward does that symbols cannot follow
        return None


def fold_batch_norms(net: nn.Module, feed: Feed) -> tuple[nn.Module, int]:
    """A copy of ``net``, in eval mode, with batch norms folded; and how many were.

    A batch norm is folded into a convolution, a linear layer or the last sublayer of a factorised
    one where that layer feeds nothing else, both are called once, and the batch norm has running
    statistics. Layers with hooks or shared weights stay as they are, and so does a network whose
    graph cannot be traced.

    Args:
        net: the network.
        feed: inputs of the numbers of dimensions that it is called with.
    """
    net = copy.deepcopy(net).eval()
    graph = trace_modules(net, feed)
    if graph is None:
        return net, 0
    modules = dict(net.named_modules())
    called = {node: modules[str(node.target)] for node in graph.nodes if node.op == "call_module"}
    calls = Counter(called.values())
    dims = _input_dims(net, feed)
    tied = _tied(net, graph)
    new: dict[str, nn.Module] = {}
    for node, norm in called.items():
        if not isinstance(norm, NORMS) or norm.running_mean is None or calls[norm] > 1:
            continue
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source not in called or len(source.users) > 1:
            continue
        fed = called[source]
        layer: Any = fed[-1] if isinstance(fed, Factorized) else fed
        if type(layer) not in FOLDS or calls[fed] + calls[layer] * (layer is not fed) > 1:
            continue
        # A norm works on the second axis, which of a linear layer need not be that of its outputs.
        if dims.get(norm) != 2 + len(getattr(layer, "kernel_size", ())):
            continue
        if id(layer.weight) in tied or _has_hooks(norm, fed, layer):
            continue
        _fold(layer, norm)
        new[str(node.target)] = nn.Identity()
    return replace_layers(net, new), len(new)


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


def _has_hooks(*modules: Any) -> bool:
    """Whether something else is done when one of them is called, such as an older weight norm."""
    return any(module._forward_hooks or module._forward_pre_hooks for module in modules)


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
    weight.copy_(weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1)))
    layer.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
