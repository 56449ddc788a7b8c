"""What a manifest says of a layer, and the layer that is built from it."""

import copy
from typing import Any

import torch
from torch import nn

from tensorpress.artifacts.manifest import LayerEntry
from tensorpress.errors import TensorpressError
from tensorpress.layers import METHODS, TENSORIZED, Factorized, Layer, TTConv2d
from tensorpress.layers.shared_weight import SHARED, share, shared_weight_of
from tensorpress.layers.tensorized import why_not_tensorized

KNOWN = (*METHODS, *TENSORIZED, SHARED)


def entry_of(layer: nn.Module) -> LayerEntry | None:
    """The entry of a factorized layer, a tensorized one or one of shared weights; None of others.

    Behind the ranks of a tensorized layer stand the factors of its channels in and out; of shared
    weights there is the number of clusters.
    """
    if isinstance(layer, Factorized):
        return LayerEntry(layer.method, layer.ranks)
    if isinstance(layer, TTConv2d):
        return LayerEntry(layer.method, (*layer.ranks, *layer.in_factors, *layer.out_factors))
    shared = shared_weight_of(layer)
    return None if shared is None else LayerEntry(SHARED, (shared.clusters,))


def build_layer(layer: Layer, entry: LayerEntry, device: Any = None) -> nn.Module:
    """What stands in the place of ``layer``, with weights not yet set.

    Raises:
        TensorpressError: ranks that the layer cannot have.
    """
    if entry.method in METHODS:
        return METHODS[entry.method].build(layer, entry.ranks, device)
    device = layer.weight.device if device is None else device
    if entry.method == SHARED:
        return _shared(layer, entry, device)
    return _tensorized(layer, entry, device)


def _tensorized(conv: nn.Module, entry: LayerEntry, device: Any) -> TTConv2d:
    reason = why_not_tensorized(conv)
    count, left = divmod(len(entry.ranks), 3)
    if reason is not None or left:
        raise TensorpressError(reason or f"{len(entry.ranks)} ranks and factors are not thirds.")
    assert isinstance(conv, nn.Conv2d)
    ranks, ins, outs = (entry.ranks[n * count : (n + 1) * count] for n in range(3))
    naive = entry.method == TENSORIZED[True]
    # Made on the meta device: what is drawn to start from would be thrown away.
    layer = TTConv2d.like(conv, ins, outs, ranks, naive=naive, device="meta")
    if (layer.in_channels, layer.out_channels) != (conv.in_channels, conv.out_channels):
        raise TensorpressError(f"factors {ins} and {outs} are not of its channels.")
    return layer.to_empty(device=device)


def _shared(layer: Layer, entry: LayerEntry, device: Any) -> nn.Module:
    if len(entry.ranks) != 1 or isinstance(layer, nn.Linear):
        raise TensorpressError(f"a convolution has one number of clusters, not {entry.ranks}.")
    made = copy.deepcopy(layer).to(device)
    rows = layer.weight.numel() // layer.weight.shape[-1]
    share(made, torch.zeros(rows, dtype=torch.int64, device=device), entry.ranks[0])
    return made
