"""What the account says of each layer of a pruned network."""

from collections.abc import Mapping

from torch import nn

from tensorpress.compression.accounting import Told
from tensorpress.compression.pruning.coupling import Selection, is_depthwise
from tensorpress.layers import Factorized
from tensorpress.layers.widths import widths_of
from tensorpress.surgery import SurveyedLayer


def removed_channels(selection: Selection) -> dict[tuple[str, str], int]:
    """How many channels of a layer are gone, by its name and what it does with them."""
    gone: dict[tuple[str, str], set[int]] = {}
    for coupled, units in selection.items():
        for member in coupled.members:
            channels = gone.setdefault((member.part_of, member.role), set())
            channels.update(channel for unit in units for channel in member.channels[unit])
    return {place: len(channels) for place, channels in gone.items()}


def tell_removed(
    layer: SurveyedLayer,
    removed: Mapping[tuple[str, str], int],
    method: str,
    reason: str | None,
) -> Told:
    """What the account says of a layer of which channels are gone, or the ``reason`` that none are.

    A chain keeps its ranks.
    """
    narrower = any((layer.name, role) in removed for role in ("writes", "passes"))
    return Told(
        _decision(layer, removed, method, reason),
        method if narrower else None,
        layer.module.ranks if isinstance(layer.module, Factorized) else None,
    )


def _decision(
    layer: SurveyedLayer,
    removed: Mapping[tuple[str, str], int],
    method: str,
    reason: str | None,
) -> str:
    module = layer.module
    filters, inputs = _sides(module)
    passed, read = (removed.get((layer.name, role), 0) for role in ("passes", "reads"))
    if is_depthwise(module) and passed:
        return f"{method}: {filters - passed} of {filters} channels, depthwise"
    left = filters - removed.get((layer.name, "writes"), 0)
    told = f"kept: {reason}" if reason else f"{method}: {left} of {filters} filters"
    if isinstance(module, Factorized) and not reason:
        told += ", ranks stay"
    return f"{told}; {inputs - read} of {inputs} inputs" if read else told


def _sides(layer: nn.Module) -> tuple[int, int]:
    """How many channels or features a layer gives and takes; zeros where that is not known."""
    widths = widths_of(layer)
    outside, inside = (
        widths.get(f"{side}_channels", widths.get(f"{side}_features", 0)) for side in ("out", "in")
    )
    return outside, inside
