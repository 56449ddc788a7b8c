"""Channels taken out of a copy of a network, and the check that nothing else changes with them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tensorpress.compression.pruning.coupling import Coupled, Selection
from tensorpress.errors import TensorpressError, first_line
from tensorpress.layers.kinds import is_transposed
from tensorpress.layers.widths import record_narrowing
from tensorpress.surgery import ExampleInputs, run_examples, tensor_leaves


def without(net: nn.Module, selection: Selection) -> nn.Module:
    """A copy of ``net`` that lacks the selected channels; gradients are asked for as in ``net``.

    Layers that got narrower carry a record of it, from which a file tells their structure.
    """
    model = duplicate(net)
    going: dict[tuple[str, Any], set[int]] = {}
    for coupled, units in selection.items():
        for member in coupled.members:
            channels = going.setdefault((member.layer, member.take_out), set())
            channels.update(channel for unit in units for channel in member.channels[unit])
    with torch.no_grad():
        for (name, take_out), channels in going.items():
            if channels:
                take_out(model.get_submodule(name), sorted(channels))
    for name in {member.part_of for coupled in selection for member in coupled.members}:
        record_narrowing(model.get_submodule(name), net.get_submodule(name))
    for name, parameter in net.named_parameters():
        model.get_parameter(name).requires_grad_(parameter.requires_grad)
    return model


def separable(
    net: nn.Module, example_inputs: ExampleInputs, groups: Sequence[Coupled]
) -> list[Coupled]:
    """Those of ``groups`` whose channels can go while all others go on computing what they do.

    To take channels out has to give what the network gives where nothing reads them. Half of each
    group's units, drawn at random, are taken out at once and the outputs on random inputs compared;
    where they differ, the groups are halved to find which it was. This is what notices a
    graph that is wrong, a forward that knows its widths, and channels that are mixed by other means
    than the layers of the graph.
    """
    if not groups:
        return []
    if _agrees(net, _random_like(example_inputs), groups):
        return list(groups)
    if len(groups) == 1:
        return []
    middle = len(groups) // 2
    first = separable(net, example_inputs, groups[:middle])
    return first + separable(net, example_inputs, groups[middle:])


def duplicate(net: nn.Module) -> nn.Module:
    """A deep copy.

    Raises:
        TensorpressError: the network cannot be copied (it holds a non-leaf tensor or a handle).
    """
    try:
        return copy.deepcopy(net)
    except Exception as error:
        raise TensorpressError(f"the network cannot be copied: {first_line(error)}") from error


def differentiable(net: nn.Module) -> nn.Module:
    """A copy all of whose weights ask for gradients."""
    model = duplicate(net)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    return model


def _agrees(net: nn.Module, inputs: ExampleInputs, groups: Sequence[Coupled]) -> bool:
    generator = torch.Generator().manual_seed(0)
    selection: Selection = {
        coupled: torch.randperm(coupled.units, generator=generator)[: coupled.units // 2].tolist()
        for coupled in groups
    }
    try:
        small = run_examples(without(net, selection), inputs)
    except Exception:  # whatever a layer of another width raises
        return False
    return _equal(small, run_examples(_unread(net, selection), inputs))


def _unread(net: nn.Module, selection: Selection) -> nn.Module:
    """A copy of ``net`` in which nothing reads the selected channels: those weights are zero."""
    model = duplicate(net)
    with torch.no_grad():
        for coupled, units in selection.items():
            for member in coupled.of_role("reads"):
                channels = [channel for unit in units for channel in member.channels[unit]]
                _read_zeros(model.get_submodule(member.layer), channels)
    return model


def _read_zeros(layer: Any, channels: list[int]) -> None:
    groups = getattr(layer, "groups", 1)
    if is_transposed(layer):
        layer.weight[channels] = 0
    elif groups == 1:
        layer.weight[:, channels] = 0
    else:
        outside, inside = layer.out_channels // groups, layer.in_channels // groups
        for channel in channels:
            group, place = divmod(channel, inside)
            layer.weight[group * outside : (group + 1) * outside, place] = 0


def _random_like(example_inputs: ExampleInputs) -> ExampleInputs:
    generator = torch.Generator().manual_seed(0)

    def drawn(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.randn(value.shape, generator=generator).to(value)

    return tree_map(drawn, example_inputs)  # type: ignore[no-any-return]


def _equal(found: Any, wanted: Any) -> bool:
    """Whether outputs agree to half of the digits that their numbers have.

    Those without a number to compare do not.
    """
    pairs = list(zip(tensor_leaves(found), tensor_leaves(wanted), strict=True))
    for a, b in pairs:
        if a.shape != b.shape:
            return False
        if a.is_floating_point() and a.numel():
            tolerance = torch.finfo(a.dtype).eps ** 0.5 * float(b.abs().max())
            if not float((a - b).abs().max()) <= tolerance:
                return False
    return bool(pairs)
