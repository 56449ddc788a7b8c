"""Batch norms folded into the layer before them, where that is exact."""

import copy
from collections import Counter
from typing import Any

import torch
from torch import fx, nn

from tensorpress.layers import Factorized

FOLDS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _Tracer(fx.Tracer):
    """Sees a factorised layer as one."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Factorized) or super().is_leaf_module(m, module_qualified_name)


def trace_modules(net: nn.Module) -> fx.Graph | None:
    """How the modules of a network feed each other; None where that depends on what is fed."""
    try:
        return _Tracer().trace(net)
    except Exception:  # whatever a forward does that symbols cannot follow
        return None


def fold_batch_norms(net: nn.Module) -> tuple[nn.Module, int]:
    """A copy of ``net``, in eval mode, with batch norms folded; and how many were.

    A batch norm is folded into a convolution, a linear layer or the last sublayer of a factorised
    one where that layer feeds nothing else, both are called once, and the batch norm has running
    statistics. A network whose graph cannot be traced keeps all of them.
    """
    net = copy.deepcopy(net).eval()
    graph = trace_modules(net)
    if graph is None:
        return net, 0
    modules = dict(net.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    folded = 0
    for node in list(graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, NORMS) or norm.running_mean is None or calls[node.target] > 1:
            continue
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        layer = modules[str(source.target)]
        layer = layer[-1] if isinstance(layer, Factorized) else layer
        if calls[source.target] > 1 or type(layer) not in FOLDS or _is_shared(net, layer):
            continue
        _fold(layer, norm)
        parent, _, name = str(node.target).rpartition(".")
        setattr(modules[parent], name, nn.Identity())
        folded += 1
    return net, folded


def _is_shared(net: nn.Module, layer: nn.Module) -> bool:
    """Whether the weight of ``layer`` is that of another layer, too."""
    names = net.named_parameters(remove_duplicate=False)
    return sum(parameter is layer.weight for _, parameter in names) > 1


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
