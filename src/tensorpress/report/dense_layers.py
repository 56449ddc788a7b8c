"""The dense layers that were decomposed, and the ranks that would keep all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import nn

from tensorpress.artifacts import LayerEntry
from tensorpress.layers.kinds import Layer, is_layer
from tensorpress.layers.methods import DECOMPOSITIONS
from tensorpress.layers.padded import Padded
from tensorpress.layers.taken_apart import apart_at


@dataclass(frozen=True)
class DenseLayer:
    """A layer of the dense network: its name there, and as what it was decomposed."""

    place: str
    layer: nn.Module | None


def dense_layers(dense: nn.Module, entries: Mapping[str, LayerEntry]) -> dict[str, DenseLayer]:
    """The layers that ``entries`` were made of, by the names of those; None that is not there."""
    modules = dict(dense.named_modules())
    found = {}
    for name in entries:
        apart = apart_at(modules, name)
        layer = modules.get(name) if apart is None else apart[1].layer
        layer = layer.layer if isinstance(layer, Padded) else layer
        found[name] = DenseLayer(apart[0] if apart else name, layer)
    return found


def full_ranks(dense: nn.Module, entries: Mapping[str, LayerEntry]) -> dict[str, tuple[int, ...]]:
    """The ranks at which each layer would lose nothing, where its method knows such."""
    full = {}
    for name, found in dense_layers(dense, entries).items():
        method = DECOMPOSITIONS.get(entries[name].method)
        if method is None or found.layer is None or not is_layer(found.layer):
            continue
        ranks = method.full_ranks(cast(Layer, found.layer))
        if ranks is not None and len(ranks) == len(entries[name].ranks):
            full[found.place] = ranks
    return full
