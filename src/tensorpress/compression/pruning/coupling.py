"""Which channels of a network can only be taken out together, from Torch-Pruning's graph of it."""

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tensorpress.compression.pruning.stand_ins import RecurrentStandIn, StandIn
from tensorpress.errors import TensorpressError, first_line
from tensorpress.layers import Factorized, is_convolution
from tensorpress.layers.kinds import is_layer
from tensorpress.layers.padded import Padded
from tensorpress.surgery import ExampleInputs, call, evaluating, tensor_leaves

OUTPUTS = "its filters are the network's outputs"
OTHER_WIDTH = "its channels meet those of a layer of another width, as in a padded shortcut"
RANKS = "its channels are the ranks of a decomposed layer"


@dataclass(frozen=True, eq=False)
class Member:
    """One layer's part in channels that go together.

    Attributes:
        layer: its name.
        part_of: the name of the decomposed layer that it is a factor of, or its own.
        role: "writes" the channels with its filters, "reads" them, or hands them on ("passes"), as
            batch norms and depthwise convolutions do.
        channels: of the layer, unit by unit.
        take_out: takes channels out of a layer of this kind, in place.
        normalised: what it writes goes to batch norms with a scale, and nowhere else.
    """

    layer: str
    part_of: str
    role: Literal["writes", "reads", "passes"]
    channels: tuple[tuple[int, ...], ...]
    take_out: Callable[[nn.Module, list[int]], Any]
    normalised: bool


@dataclass(frozen=True, eq=False)
class Coupled:
    """Channels that go together in all layers that write, pass or read them.

    A unit is what can be taken out by itself: one channel, or with grouped convolutions one of each
    group.

    Attributes:
        members: the layers.
        units: how many there are.
        obstacle: why none may be taken out; None if they may.
    """

    members: tuple[Member, ...]
    units: int
    obstacle: str | None

    def of_role(self, role: str) -> list[Member]:
        """The members that write, pass or read."""
        return [member for member in self.members if member.role == role]


def coupled_channels(net: nn.Module, example_inputs: ExampleInputs) -> list[Coupled]:
    """All channels that convolutions and linear layers write, those that go together as one.

    The order is that of execution, where there are no branches.

    Args:
        net: whose parameters all ask for gradients, which is how the graph is found.

    Raises:
        TensorpressError: Torch-Pruning is not installed, or cannot follow the network.
    """
    try:
        from torch_pruning import DependencyGraph
    except ImportError as error:
        raise TensorpressError(
            "pruning needs Torch-Pruning: pip install 'tensorpress[prune]'"
        ) from error
    names = {id(module): name for name, module in net.named_modules()}
    names |= {
        id(module.layer): name for name, module in net.named_modules() if isinstance(module, Padded)
    }
    chains: dict[int, nn.Module] = {
        id(factor): chain
        for chain in net.modules()
        if isinstance(chain, (Factorized, StandIn, RecurrentStandIn))
        for factor in chain.modules()
    }

    def tensors(net: nn.Module, inputs: ExampleInputs) -> list[Tensor]:
        found = tensor_leaves(call(net, inputs))
        if not any(tensor.requires_grad for tensor in found):
            raise TensorpressError(
                "its answers have no gradients that could be followed, as None, whole numbers and "
                "what is detached have none: prune the part of it that comes before."
            )
        return found

    try:
        with warnings.catch_warnings(), evaluating(net), torch.enable_grad():
            warnings.simplefilter("ignore")
            graph = DependencyGraph().build_dependency(
                net, example_inputs, forward_fn=tensors, verbose=False
            )
            groups = graph.get_all_groups(root_module_types=(nn.modules.conv._ConvNd, nn.Linear))
            return [_coupled(graph, group, names, chains) for group in groups][::-1]
    except Exception as error:  # a tracer meets forwards of every kind
        raise TensorpressError(
            f"Torch-Pruning cannot follow the network: {first_line(error)}"
        ) from error


def _coupled(
    graph: Any, group: Any, names: dict[int, str], chains: dict[int, nn.Module]
) -> Coupled:
    roots = len(group[0].idxs)
    blocks = {_blocks(item.dep.target.module) for item in group.items} - {1}
    divided = max(blocks, default=1)
    units = roots // divided
    members, obstacle = [], None
    for item in group.items:
        node, handler = item.dep.target, item.dep.handler
        module = node.module
        role = _role(module, writes=graph.is_out_channel_pruning_fn(handler))
        if isinstance(module, nn.Parameter):
            obstacle = "its channels meet a parameter that is in no layer"
        if role != "reads" and not node.outputs:
            obstacle = OUTPUTS
        if id(module) not in names:
            continue
        channels: list[list[int]] = [[] for _ in range(units)]
        for channel, root in zip(item.idxs, item.root_idxs, strict=True):
            channels[root % units].append(channel)
        if role == "writes" and len(set(item.idxs)) < graph.get_out_channels(module):
            obstacle = OTHER_WIDTH
        chain = chains.get(id(module), module)
        if chain is not module and _is_within(chain, module, role):
            obstacle = RANKS
        normalised = bool(node.outputs) and all(
            isinstance(after.module, _BatchNorm) and after.module.affine for after in node.outputs
        )
        members.append(
            Member(
                layer=names[id(module)],
                part_of=names[id(chain)],
                role=role,
                channels=tuple(map(tuple, channels)),
                take_out=handler,
                normalised=normalised,
            )
        )
    if len(blocks) > 1 or roots % divided:
        obstacle = obstacle or "its channels are grouped in different ways"
    return Coupled(tuple(members), units, obstacle)


def _role(module: Any, *, writes: bool) -> Literal["writes", "reads", "passes"]:
    if not is_layer(module):
        return "passes"
    if is_depthwise(module):
        return "passes"
    return "writes" if writes else "reads"


def _is_within(chain: nn.Module, factor: nn.Module, role: str) -> bool:
    """Whether these channels of a factor are not those that its whole chain takes or gives."""
    if not isinstance(chain, Factorized):
        return False
    end = {"reads": chain[0], "writes": chain[-1]}.get(role)
    return factor is not end


def is_depthwise(module: Any) -> bool:
    """Whether each channel has a filter of its own and becomes one channel."""
    return is_convolution(module) and 1 < module.groups == module.in_channels == module.out_channels


def _blocks(module: Any) -> int:
    """Into how many blocks a layer divides its channels, all of which must stay of one size."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    return int(module.groups) if is_convolution(module) and not is_depthwise(module) else 1


Selection = dict[Coupled, Collection[int]]
"""The units to take out of coupled channels."""
