"""What a manifest says of a layer, and the layer that is built from it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tensorpress.artifacts.layouts import check_layout
from tensorpress.artifacts.manifest import LayerEntry
from tensorpress.errors import TensorpressError
from tensorpress.layers import METHODS, Factorized, Layer, Replacement, Treatment
from tensorpress.layers.chain import build_chain
from tensorpress.layers.widths import recorded_widths


def entry_of(module: nn.Module) -> LayerEntry | None:
    """The entry of a layer that a treatment made; None of others.

    A chain of a method that is not built in has its layout written down, so that whoever reads it
    can do without the method.
    """
    for name, method in METHODS.items():
        ranks = method.stored_ranks(module)
        if ranks is not None:
            return LayerEntry(name, ranks)
    if isinstance(module, Factorized):
        return LayerEntry(module.method, module.ranks, module.layout)
    if isinstance(module, Replacement):
        return LayerEntry(module.method, module.ranks)
    return None


def entries_in(net: nn.Module) -> dict[str, LayerEntry]:
    """The layers of a network that a treatment made, by name."""
    entries = ((name, entry_of(module)) for name, module in net.named_modules())
    return {name: entry for name, entry in entries if entry is not None}


def widths_in(net: nn.Module) -> dict[str, dict[str, int]]:
    """The layers of a network that are narrower than they were, and their widths, by name."""
    recorded = ((name, recorded_widths(module)) for name, module in net.named_modules())
    return {name: dict(widths) for name, widths in recorded if widths}


def build_layer(
    layer: Layer, entry: LayerEntry, methods: Mapping[str, Treatment], device: Any = None
) -> nn.Module:
    """What stands in the place of ``layer``, with weights not yet set.

    Args:
        methods: that are known, by name; of others the entry must hold a layout.

    Raises:
        TensorpressError: an unknown method, or ranks or a layout that the layer cannot have.
    """
    if entry.method in methods:
        return methods[entry.method].build(layer, entry.ranks, device)
    if not entry.layout:
        raise TensorpressError(
            f"its method '{entry.method}' is not known here: give it as methods=[...]."
        )
    check_layout(layer, entry.layout)
    chain = build_chain(layer, entry.layout, device)
    chain.method, chain.ranks = entry.method, entry.ranks
    return chain
