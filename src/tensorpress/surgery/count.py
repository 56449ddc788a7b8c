"""Parameters and multiply-accumulates of a network, by layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from tensorpress.layers import Replacement
from tensorpress.layers.kinds import is_layer
from tensorpress.layers.padded import Padded
from tensorpress.layers.shared_weight import SharedWeight
from tensorpress.surgery.inputs import ExampleInputs, refuse_unready, run_examples

_ATEN = torch.ops.aten
OF_LAYERS = (_ATEN.convolution, _ATEN._convolution, _ATEN.addmm, _ATEN.mm)
"""The operations of convolutions and linear layers."""


@dataclass
class LayerCost:
    """What one layer costs in one forward pass.

    Attributes:
        params: its parameters, bias included.
        macs: multiply-accumulates over all its calls, for the example inputs as given.
        inputs: shape of its input at each call.
    """

    params: int
    macs: int = 0
    inputs: list[tuple[int, ...]] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        params: all its parameters, each counted once, batch norm and biases included. The indices
            of shared weights count at ceil(log2 K) bits each, 32 bits being a parameter.
        macs: multiply-accumulates of its convolutions and linear layers.
        layers: cost of each convolution, linear layer and factorized layer, in order of their
            first call; those that were never called come last, with no MACs. One with padding
            before it has the name of both together, and a module that torch.jit made, which hides
            its layers, stands for all in it.
    """

    params: int
    macs: int
    layers: dict[str, LayerCost]

    def of(self, name: str) -> LayerCost:
        """The cost of a layer, by its own name also where padding stands before it."""
        return self.layers[name if name in self.layers else name.removesuffix(".layer")]

    def __str__(self) -> str:
        rows = [f"{name}  {c.params:,}  {c.macs:,}" for name, c in self.layers.items()]
        return "\n".join([*rows, f"params {self.params:,}  MACs {self.macs:,}"])


def count(net: nn.Module, example_inputs: ExampleInputs) -> Cost:
    """Count a network's parameters and multiply-accumulates (MACs) on example inputs.

    MACs are read off torch's own flop counter (``torch.utils.flop_counter``, two flops a MAC)
    inside the convolutions and linear layers, as the operations run: groups, strides and dilation
    are counted as they are, padding as computed. Activations, pooling, normalisation, biases and
    products of activations (attention) are not counted. MACs are for the inputs as given: give
    one image for MACs per image. Runs in eval mode; the network is not changed.

    Raises:
        TensorpressError: the network does not run on ``example_inputs``, is lazy or scripted.

    >>> import torch
    >>> cost = count(nn.Sequential(nn.Conv2d(3, 8, 3)), torch.zeros(1, 3, 10, 10))
    >>> cost.params, cost.macs
    (224, 13824)
    """
    refuse_unready(net)
    layers = countable_layers(net)
    costs = {name: LayerCost(_params(layer)) for name, layer in layers.items()}
    called: dict[str, LayerCost] = {}
    with _counting(layers, costs, called):
        run_examples(net, example_inputs)
    for name, layer in layers.items():
        if is_scripted(layer) and not costs[name].macs:
            called.pop(name, None)
            del costs[name]
    return Cost(
        params=_params(net),
        macs=sum(cost.macs for cost in costs.values()),
        layers=called | {name: cost for name, cost in costs.items() if name not in called},
    )


@contextmanager
def _counting(
    layers: dict[str, nn.Module], costs: dict[str, LayerCost], called: dict[str, LayerCost]
) -> Iterator[None]:
    """Fill ``costs`` while the network runs, and put each into ``called`` at its first call."""
    flops = FlopCounterMode(display=False)
    started: list[int] = []
    handles: list[RemovableHandle] = []

    def watch(name: str, layer: nn.Module) -> None:
        cost = costs[name]

        def enter(_module: nn.Module, _args: Any, _kwargs: Any) -> None:
            started.append(_done(flops, layer))

        def leave(_module: nn.Module, args: Any, kwargs: dict[str, Any], _output: Any) -> None:
            called.setdefault(name, cost)
            value = args[0] if args else next(iter(kwargs.values()))
            cost.macs += (_done(flops, layer) - started.pop()) // 2
            cost.inputs.append(tuple(value.shape))

        fed = layer.layer if isinstance(layer, Padded) else layer
        # By the class: modules that torch.jit made refuse to be asked themselves, and run hooks.
        handles.append(nn.Module.register_forward_pre_hook(fed, enter, with_kwargs=True))
        handles.append(nn.Module.register_forward_hook(fed, leave, with_kwargs=True))

    for name, layer in layers.items():
        watch(name, layer)
    try:
        with flops:
            yield
    finally:
        for handle in handles:
            handle.remove()


def countable_layers(net: nn.Module) -> dict[str, nn.Module]:
    """Convolutions, linear layers and what replaces them by name, as they are registered.

    What lies inside a replacement belongs to it. A module used in several places has the first of
    its names.
    """
    layers: dict[str, nn.Module] = {}
    inside: set[int] = set()
    for name, module in net.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, (Replacement, Padded)) or is_scripted(module):
            inside.update(id(child) for child in module.modules())
        elif not is_layer(module):
            continue
        layers[name] = module
    return layers


def is_scripted(module: nn.Module) -> bool:
    """Whether torch.jit made it, by scripting or tracing."""
    return isinstance(module, torch.jit.ScriptModule)


def _done(flops: FlopCounterMode, layer: nn.Module) -> int:
    """Flops so far; of convolutions and linear layers alone where a layer may do more than that."""
    if not is_scripted(layer):
        return flops.get_total_flops()
    counted = flops.get_flop_counts().get("Global", {})
    return sum(number for operation, number in counted.items() if operation in OF_LAYERS)


def _params(module: nn.Module) -> int:
    """All parameters, and what the indices of shared weights take."""
    shared = sum(m.index_params for m in module.modules() if isinstance(m, SharedWeight))
    return shared + sum(parameter.numel() for parameter in module.parameters())
