"""Parameters and multiply-accumulates of a network, by layer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from tensorpress.layers import Replacement
from tensorpress.layers.kinds import is_layer, is_plain
from tensorpress.layers.padded import Padded
from tensorpress.layers.shared_weight import SharedWeight
from tensorpress.surgery.inputs import ExampleInputs, refuse_unready, run_examples
from tensorpress.surgery.products import Products
from tensorpress.surgery.recurrent import gates_of, recurrent_macs

_ATEN = torch.ops.aten
CONVOLUTIONS = (_ATEN.convolution, _ATEN._convolution)
OF_LAYERS = (*CONVOLUTIONS, _ATEN.addmm, _ATEN.mm)
"""The operations of convolutions and linear layers."""


@dataclass
class LayerCost:
    """What one layer costs in one forward pass.

    Attributes:
        params: its parameters, bias included.
        macs: multiply-accumulates over all its calls, for the example inputs as given.
        inputs: shape of its input at each call; () of what is no dense tensor.
        takes_more: whether a call gave it something else than one dense tensor.
    """

    params: int
    macs: int = 0
    inputs: list[tuple[int, ...]] = field(default_factory=list)
    takes_more: bool = False


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        params: all its parameters, each counted once, batch norm and biases included. The indices
            of shared weights count at ceil(log2 K) bits each, 32 bits being a parameter.
        macs: multiply-accumulates of its convolutions, linear and recurrent layers, and of
            convolutions and products with parameters that run outside of layers: by functions, or
            by a layer's ``forward``.
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
    are counted as they are, padding as computed. What lies in one another counts once, and
    convolutions and products with parameters that are called as functions count for the network,
    such as the projections of ``nn.MultiheadAttention``; so do recurrent layers, each weight once a
    step. Activations, pooling, normalisation, biases and products of activations (attention) are
    not counted. MACs are for the inputs as given: give one image for MACs per image. Runs in eval
    mode; the network is not changed.

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
    with _counting(net, layers, costs, called) as tally:
        run_examples(net, example_inputs)
    for name, layer in layers.items():
        if is_scripted(layer) and not costs[name].macs:
            called.pop(name, None)
            del costs[name]
    return Cost(
        params=_params(net),
        macs=tally.macs,
        layers=called | {name: cost for name, cost in costs.items() if name not in called},
    )


class _Tally:
    """Flops as they are done, and those of layers that lie in no other."""

    def __init__(self, net: nn.Module) -> None:
        self.flops = FlopCounterMode(display=False)
        self.products = Products(net)
        self._started: list[tuple[int, int]] = []
        self._of_layers = 0
        self._convolved = 0

    @property
    def macs(self) -> int:
        """Of all layers, what lies in one another once, and of what runs outside of them."""
        outside = _done(self.flops, CONVOLUTIONS) - self._convolved
        return (self._of_layers + outside) // 2 + self.products.macs

    def enter(self, operations: Sequence[Any] | None) -> None:
        """A layer begins, of which these operations count; by default all."""
        self._started.append((_done(self.flops, operations), _done(self.flops, CONVOLUTIONS)))
        self.products.are_outside = False

    def leave(self, operations: Sequence[Any] | None, *, told: int = 0) -> int:
        """The last layer that began is done: its MACs, those that are told beside what is seen."""
        flops, convolved = self._started.pop()
        done = _done(self.flops, operations) - flops + 2 * told
        if not self._started:
            self._of_layers += done
            self._convolved += _done(self.flops, CONVOLUTIONS) - convolved
            self.products.are_outside = True
        return done // 2


@contextmanager
def _counting(
    net: nn.Module,
    layers: dict[str, nn.Module],
    costs: dict[str, LayerCost],
    called: dict[str, LayerCost],
) -> Iterator[_Tally]:
    """Fill ``costs`` while the network runs, and put each into ``called`` at its first call."""
    tally = _Tally(net)
    handles: list[RemovableHandle] = []

    def watch(name: str, layer: nn.Module) -> None:
        cost = costs[name]
        # A layer that torch.jit made may do more than what counts.
        operations = OF_LAYERS if is_scripted(layer) else None

        def enter(_module: nn.Module, _args: Any, _kwargs: Any) -> None:
            tally.enter(operations)

        def leave(_module: nn.Module, args: Any, kwargs: dict[str, Any], _output: Any) -> None:
            called.setdefault(name, cost)
            cost.macs += tally.leave(operations)
            shape = _shape_of_input(fed, args, kwargs)
            cost.inputs.append(shape or ())
            cost.takes_more |= shape is None

        fed = layer.layer if isinstance(layer, Padded) else layer
        # By the class: modules that torch.jit made refuse to be asked themselves, and run hooks.
        handles.append(nn.Module.register_forward_pre_hook(fed, enter, with_kwargs=True))
        handles.append(nn.Module.register_forward_hook(fed, leave, with_kwargs=True))

    def watch_recurrent(module: nn.Module) -> None:
        def enter(*_: Any) -> None:
            tally.enter(())

        def leave(_module: nn.Module, args: Any, kwargs: dict[str, Any], _output: Any) -> None:
            tally.leave((), told=recurrent_macs(module, args[0] if args else kwargs["input"]))

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave, with_kwargs=True))

    for name, layer in layers.items():
        watch(name, layer)
    for module in net.modules():
        if gates_of(module):
            watch_recurrent(module)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its operations have no count
    try:
        with tally.flops, tally.products:
            yield tally
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()


def _shape_of_input(
    layer: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[int, ...] | None:
    """The shape of what a layer is called on; None where that is not one dense tensor.

    Layers of PyTorch, and what replaces them, may be told the size of their output besides.
    """
    first = args[0] if args else kwargs.get("input")
    if not isinstance(first, Tensor) or first.is_nested or first.layout != torch.strided:
        return None
    alone = len(args) + len(kwargs) == 1 or is_plain(layer) or isinstance(layer, Replacement)
    return tuple(first.shape) if alone else None


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


def _done(flops: FlopCounterMode, operations: Sequence[Any] | None) -> int:
    """Flops so far, of these operations or of all."""
    counted = flops.flop_counts["Global"]
    return sum(n for of, n in counted.items() if operations is None or of in operations)


def _params(module: nn.Module) -> int:
    """All parameters, and what the indices of shared weights take."""
    shared = sum(m.index_params for m in module.modules() if isinstance(m, SharedWeight))
    return shared + sum(parameter.numel() for parameter in module.parameters())
