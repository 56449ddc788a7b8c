"""Layers of a network as a file or a structure says that they are, weights not yet set."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from tensorpress.artifacts.entries import build_layer, entry_of
from tensorpress.artifacts.manifest import LayerEntry
from tensorpress.artifacts.narrow import narrowed, take_over
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import composed
from tensorpress.layers import (
    METHODS,
    Layer,
    Treatment,
    TTConv2d,
    find_method,
    refuse_unreadable,
    why_not,
)
from tensorpress.layers.kinds import is_layer, is_plain
from tensorpress.layers.taken_apart import TakenApart, apart_at
from tensorpress.layers.widths import Widths, keep_record
from tensorpress.surgery import replace_layers

MOST_TIMES = 100
"""As many values as the layer that it stands for a chain may hold, at most."""


@dataclass(frozen=True)
class PlannedLayers:
    """What becomes of a network's layers, by the names that the network has for them.

    Attributes:
        narrow: layers with fewer channels, made already.
        built: layers in the places of others, on the meta device.
        entries: of those that are built.
        widths: of all layers that are narrower than they were.
        known: treatments by name.
        aparts: the subclasses, or layers with parametrisations, that layers are taken apart from,
            with their own names, by the names of the layers.
    """

    narrow: Mapping[str, nn.Module]
    built: Mapping[str, nn.Module]
    entries: Mapping[str, LayerEntry]
    widths: Mapping[str, Widths]
    known: Mapping[str, Treatment]
    aparts: Mapping[str, tuple[str, TakenApart]]

    def in_place(self, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
        """Layers with the padding that subclasses were taken apart from, by their own names."""
        found = {}
        for name, layer in layers.items():
            place, made = name, layer
            if name in self.aparts:
                place, apart = self.aparts[name]
                made = apart.joined(layer)
            found[place] = made
        return found


def plan_layers(
    named: str,
    net: nn.Module,
    entries: Mapping[str, LayerEntry],
    widths: Mapping[str, Widths],
    known: Mapping[str, Treatment],
    *,
    needs_values: bool = True,
) -> PlannedLayers:
    """Find out whether ``net`` can have these layers; it is not changed.

    Args:
        named: what says so, for messages.
        needs_values: whether layers on the meta device are refused.

    Raises:
        TensorpressError: they are of another network, or do not make sense.
    """
    modules = dict(net.named_modules())
    own = {composed(name): name for name in modules}
    entries = {own.get(composed(name), name): entry for name, entry in entries.items()}
    widths = {own.get(composed(name), name): held for name, held in widths.items()}
    narrow = {
        name: made
        for name, held in widths.items()
        if (made := narrowed(named, name, modules.get(name), held)) is not None
    }
    for name in entries:
        _refuse_unrun(name, modules.get(name, modules.get(name.removesuffix(".layer"))))
    layers = modules | narrow
    aparts = {name: found for name in entries if (found := apart_at(layers, name))}
    apart = {name: found.layer for name, (_, found) in aparts.items()}
    limit = max((parameter.numel() for parameter in net.parameters()), default=0)
    built = {
        name: _planned(
            named,
            name,
            (modules | apart).get(name),
            (layers | apart).get(name),
            entry,
            known,
            limit,
            needs_values=needs_values,
        )
        for name, entry in entries.items()
        if not _is_there(named, name, layers.get(name), entry)
    }
    kept = {name: entries[name] for name in built}
    return PlannedLayers(narrow, built, kept, widths, known, aparts)


def _refuse_unrun(name: str, module: nn.Module | None) -> None:
    """Raise for a subclass whose parts show when it is run, which the meta device does not do."""
    if module is None or not is_layer(module) or is_plain(module):
        return
    if any(value.is_meta for value in (*module.parameters(), *module.buffers())):
        raise TensorpressError(
            f"layer '{name}' is a {type(module).__name__}, which is taken apart by running it, and "
            "it is on the meta device: build the network on a device with memory."
        )


def put_layers(net: nn.Module, planned: PlannedLayers) -> nn.Module:
    """Give ``net`` the layers that were planned for it, on the devices of those they replace."""
    layers = dict(net.named_modules()) | dict(planned.narrow)
    layers |= {name: apart.layer for name, (_, apart) in planned.aparts.items()}
    new: dict[str, nn.Module] = {}
    for name, entry in planned.entries.items():
        layer = layers[name]
        assert isinstance(layer, Layer)
        new[name] = build_layer(layer, entry, planned.known)
    modules = dict(net.named_modules())
    for name, made in planned.narrow.items():
        take_over(modules[name], made)
    for name, held in planned.widths.items():
        keep_record(modules[name], held)
    return replace_layers(net, planned.in_place(new))


def known_methods(own: object) -> dict[str, Treatment]:
    """The treatments by name: those that are built in, and one's own.

    Raises:
        TensorpressError: something else among one's own.
    """
    known = dict(METHODS)
    for method in own if isinstance(own, (list, tuple, set)) else [own]:
        if not isinstance(method, Treatment):
            raise TensorpressError(
                f"methods= takes a list of treatments, objects of classes of one's own, not "
                f"{shown(method)}."
            )
        known[find_method(method).name] = method
    return known


def _is_there(named: str, name: str, layer: nn.Module | None, entry: LayerEntry) -> bool:
    """Whether the network comes with the tensorized layer that the file has there."""
    if not isinstance(layer, TTConv2d):
        return False
    if entry_of(layer) != entry:
        raise TensorpressError(
            f"{named} is of another network: '{name}' is tensorized with other factors or ranks."
        )
    return True


def _planned(
    named: str,
    name: str,
    layer: nn.Module | None,
    narrow: nn.Module | None,
    entry: LayerEntry,
    known: Mapping[str, Treatment],
    limit: int,
    *,
    needs_values: bool,
) -> nn.Module:
    if layer is None:
        raise TensorpressError(
            f"{named} is of another network: it has a layer '{name}', this network has none."
        )
    if not isinstance(layer, Layer) or why_not(layer) is not None:
        raise TensorpressError(
            f"{named} is of another network: '{name}' is factorized there, and a "
            f"{type(layer).__name__} here."
        )
    refuse_unreadable(name, layer, needs_values=needs_values)
    if any(rank > limit for rank in entry.ranks):
        raise TensorpressError(
            f"{named} is damaged: layer '{name}' has absurd ranks {shown(entry.ranks)}."
        )
    try:
        original = narrow if isinstance(narrow, Layer) else layer
        built = build_layer(original, entry, known, device="meta")
    except TensorpressError as error:
        raise TensorpressError(f"{named} does not fit: layer '{name}': {error}") from error
    if _values(built) > MOST_TIMES * _values(original):
        raise TensorpressError(
            f"{named} is damaged: layer '{name}' has absurd ranks {shown(entry.ranks)}, by which "
            f"it would hold {_values(built):,} values in place of {_values(original):,}."
        )
    return built


def _values(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
