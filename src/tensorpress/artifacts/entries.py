"""What a manifest says of a layer, and the layer that is built from it."""

from typing import Any

from torch import nn

from tensorpress.artifacts.manifest import LayerEntry
from tensorpress.layers import METHODS, Layer


def entry_of(module: nn.Module) -> LayerEntry | None:
    """The entry of a layer that a treatment made; None of others."""
    for name, method in METHODS.items():
        ranks = method.stored_ranks(module)
        if ranks is not None:
            return LayerEntry(name, ranks)
    return None


def build_layer(layer: Layer, entry: LayerEntry, device: Any = None) -> nn.Module:
    """What stands in the place of ``layer``, with weights not yet set.

    Raises:
        TensorpressError: ranks that the layer cannot have.
    """
    return METHODS[entry.method].build(layer, entry.ranks, device)
