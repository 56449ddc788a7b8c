"""Plain layers in the places of those whose inner reshaping Torch-Pruning does not follow."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from tensorpress.layers import Blocks, Factorized, TTConv2d
from tensorpress.layers.kinds import CONVOLUTIONS, dimensions, is_layer
from tensorpress.surgery import ExampleInputs, replace_layers, run_examples

POOLS: dict[int, Any] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}


class StandIn(nn.Module):
    """Takes and gives tensors of the shapes that ``layer`` does, by one plain layer.

    Args:
        layer: what it stands for, which is asked for shapes and is no child of this.
        channels: that it takes and gives.
    """

    def __init__(self, layer: nn.Module, channels: tuple[int, int]) -> None:
        super().__init__()
        vars(self)["layer"] = layer
        parameter = next(layer.parameters())
        options: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
        self.dims = _dimensions(layer)
        self.plain = (
            CONVOLUTIONS[self.dims - 1](*channels, 1, **options)
            if self.dims
            else nn.Linear(*channels, **options)
        )

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.plain(input)
        if not self.dims:
            return output
        with torch.no_grad():
            size = vars(self)["layer"](input).shape[-self.dims :]
        pooled: Tensor = POOLS[self.dims](output, tuple(size))
        return pooled


class RecurrentStandIn(nn.Module):
    """Takes and gives tensors of the shapes that a recurrent ``layer`` or cell does.

    Each that it gives is a sum of plain layers of each that it takes. Torch-Pruning would follow
    every step of the layer, in a time that goes with their square and more.

    Args:
        layer: what it stands for, which is asked for shapes and settings and is no child of this.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        vars(self)["layer"] = layer
        parameter = next(layer.parameters())
        options: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
        hidden, width = layer.hidden_size, getattr(layer, "proj_size", 0) or layer.hidden_size
        states = [width, hidden] if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else [width]
        steps = [] if isinstance(layer, nn.RNNCellBase) else [width * (1 + layer.bidirectional)]
        self.sums = nn.ModuleList(
            nn.ModuleList(nn.Linear(n, out, **options) for n in (layer.input_size, *states))
            for out in (*steps, *states)
        )

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # networks ask for its sizes, and have its weights laid together
            return getattr(vars(self)["layer"], name)

    def forward(self, input: Any, hx: Any = None) -> Any:
        layer = vars(self)["layer"]
        with torch.no_grad():
            answer = layer(input, hx)
        is_packed = isinstance(input, PackedSequence)
        given = [input.data if is_packed else input, *_listed(hx)]
        if isinstance(layer, nn.RNNCellBase):
            made = self._made(given, _listed(answer))
            return tuple(made) if isinstance(answer, tuple) else made[0]
        output, states = answer
        steps = output.data if is_packed else output
        first, *others = self._made(given, [steps, *_listed(states)])
        first = output._replace(data=first) if is_packed else first
        return first, tuple(others) if isinstance(states, tuple) else others[0]

    def _made(self, given: Sequence[Tensor], wanted: Sequence[Tensor]) -> list[Tensor]:
        found, sums = [], cast(Sequence[nn.ModuleList], self.sums)
        for like, plain in zip(wanted, sums, strict=True):
            first, *others = [layer(x) for layer, x in zip(plain, given, strict=False)]
            total = first if first.shape == like.shape else _mean(first)
            for other in others:
                total = total + _mean(other)
            found.append(total.expand(like.shape))
        return found


def is_recurrent(layer: nn.Module) -> bool:
    """Whether a layer goes through a sequence step by step."""
    return type(layer) in (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)


def stays_whole(layer: nn.Module) -> bool:
    """Whether a layer is tensorized, or decomposed in blocks of channels."""
    if isinstance(layer, Factorized):
        return any(isinstance(part, Blocks) for part in layer)
    return isinstance(layer, TTConv2d)


def with_stand_ins(net: nn.Module, example_inputs: ExampleInputs) -> nn.Module:
    """``net`` itself, with stand-ins for the layers that stay whole; it computes something else.

    These are tensorized ones, those decomposed in blocks of channels, and recurrent ones.
    """
    whole = {name: module for name, module in net.named_modules() if stays_whole(module)}
    channels: dict[str, tuple[int, int]] = {}

    def watch(name: str, layer: nn.Module) -> Any:
        axis = -1 - _dimensions(layer)

        def hook(_layer: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
            value = args[0] if args else next(iter(kwargs.values()))
            channels[name] = (value.shape[axis], output.shape[axis])

        return layer.register_forward_hook(hook, with_kwargs=True)

    handles = [watch(name, layer) for name, layer in whole.items()]
    try:
        if handles:
            run_examples(net, example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    recurrent = {
        name: RecurrentStandIn(module)
        for name, module in net.named_modules()
        if is_recurrent(module)
    }
    made = {name: StandIn(whole[name], seen) for name, seen in channels.items()}
    return replace_layers(net, {**made, **recurrent})


def _listed(states: Any) -> list[Tensor]:
    """The states of a recurrent layer, of which it may have none yet, one or two."""
    if states is None:
        return []
    return list(states) if isinstance(states, (tuple, list)) else [states]


def _mean(rows: Tensor) -> Tensor:
    """By channel, which is the last axis."""
    return rows.mean(tuple(range(rows.dim() - 1)))


def _dimensions(layer: nn.Module) -> int:
    """How many axes the maps of a layer have; 0 for linear layers."""
    if isinstance(layer, TTConv2d):
        return 2
    return dimensions(next(part for part in layer.modules() if is_layer(part)))
