"""Tensorised layers in a manifest: what is written of one, and one built from it."""

from typing import Any

from torch import nn

from tensorpress.artifacts.manifest import LayerEntry
from tensorpress.errors import TensorpressError
from tensorpress.layers import TENSORISED, TTConv2d
from tensorpress.layers.tensorised import why_not_tensorised


def tensorised_entry(layer: TTConv2d) -> LayerEntry:
    """Its method, and behind its ranks the factors of the channels in and out."""
    return LayerEntry(layer.method, (*layer.ranks, *layer.in_factors, *layer.out_factors))


def tensorised_layer(conv: nn.Module, entry: LayerEntry, device: Any = None) -> TTConv2d:
    """The layer of an entry, with weights not yet set, for the convolution that it replaces.

    Raises:
        TensorpressError: another layer, or factors that are not of its channels.
    """
    reason = why_not_tensorised(conv)
    count, left = divmod(len(entry.ranks), 3)
    if reason is not None or left:
        raise TensorpressError(reason or f"{len(entry.ranks)} ranks and factors are not thirds.")
    assert isinstance(conv, nn.Conv2d)
    ranks, ins, outs = (entry.ranks[n * count : (n + 1) * count] for n in range(3))
    naive = entry.method == TENSORISED[True]
    # Made on the meta device: what is drawn to start from would be thrown away.
    layer = TTConv2d.like(conv, ins, outs, ranks, naive=naive, device="meta")
    if (layer.in_channels, layer.out_channels) != (conv.in_channels, conv.out_channels):
        raise TensorpressError(f"factors {ins} and {outs} are not of its channels.")
    return layer.to_empty(device=conv.weight.device if device is None else device)
