"""The ways to execute a chain of sublayers: how it is cut into runs, each merged into one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from tensorpress.layers import CONVOLUTIONS, Factorized, can_merge, merge, works_along

CLEARLY = 1.1


@dataclass(frozen=True, order=True)
class Execution:
    """One way to execute a chain.

    Attributes:
        runs: how many sublayers in a row are merged into each layer that is executed:
            (1, 1, 1, 1) is the chain as it is stored, (4,) the dense kernel.
        multiple: channels between the layers are filled up with zeros to a multiple of this.
    """

    runs: tuple[int, ...]
    multiple: int = 1

    def __str__(self) -> str:
        """Sublayers by number, those merged in brackets: "1 [23] 4", with "x16" if filled up."""
        names, at = [], 1
        for run in self.runs:
            digits = "".join(map(str, range(at, at + run)))
            names.append(digits if run == 1 else f"[{digits}]")
            at += run
        return " ".join(names) + (f" x{self.multiple}" if self.multiple > 1 else "")

    @property
    def is_stored(self) -> bool:
        """Whether the sublayers are executed as they are."""
        return max(self.runs) == 1 and self.multiple == 1

    @property
    def is_dense(self) -> bool:
        """Whether all sublayers are merged into one."""
        return len(self.runs) == 1


def executions_of(chain: Sequence[nn.Module], multiples: Sequence[int] = (1,)) -> list[Execution]:
    """All ways to execute a chain, the dense kernel first and the chain itself last.

    A chain of four gives eight, and each is given again for every multiple that changes a width.
    """
    if not all(isinstance(layer, (nn.Linear, *CONVOLUTIONS)) for layer in chain):
        return [Execution((1,) * len(chain))]
    found = []
    for runs in _compositions(len(chain)):
        if not all(can_merge(part) for part in _parts(chain, runs)):
            continue
        widths = [_out(part[-1]) for part in _parts(chain, runs)][:-1]
        plain = all(_groups(layer) == 1 for layer in chain)
        for multiple in multiples:
            if multiple == 1 or (plain and any(width % multiple for width in widths)):
                found.append(Execution(runs, multiple))
    return sorted(found, key=lambda execution: (len(execution.runs), execution))


def realise(chain: Sequence[nn.Module], execution: Execution) -> list[nn.Module]:
    """The layers that a execution executes. Those that stay as they are are not copied."""
    layers = [merge(part) for part in _parts(chain, execution.runs)]
    if execution.multiple == 1:
        return layers
    widths = [-(-_out(layer) // execution.multiple) * execution.multiple for layer in layers]
    widths[-1] = _out(layers[-1])
    before = [_in(layers[0]), *widths[:-1]]
    return [_widened(*item) for item in zip(layers, before, widths, strict=True)]


def without_dominated(
    chain: Sequence[nn.Module], executions: Sequence[Execution], *input_shapes: Sequence[int]
) -> list[Execution]:
    """The executions worth measuring: those that no other clearly beats on paper, dense, and chain.

    One is clearly beaten by another with a tenth fewer MACs that moves a tenth fewer bytes, over
    all calls of the layer.
    """
    if len(executions) == 1:
        return list(executions)
    work = {
        execution: tuple(map(sum, zip(*calls, strict=True)))
        for execution in executions
        for calls in [[work_of(chain, execution, shape) for shape in input_shapes]]
    }

    def beaten(execution: Execution) -> bool:
        macs, moved = work[execution]
        return any(m * CLEARLY < macs and b * CLEARLY < moved for m, b in work.values())

    stored = Execution((1,) * len(chain))
    return [c for c in executions if c.is_dense or c == stored or not beaten(c)]


def work_of(
    chain: Sequence[nn.Module], execution: Execution, input_shape: Sequence[int]
) -> tuple[int, int]:
    """MACs, and elements read and written, of a chain executed as ``execution`` on this input."""
    shape, macs, moved = list(input_shape), 0, 0
    multiple = execution.multiple
    parts = list(_parts(chain, execution.runs))
    channels = _in(chain[0])
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        out = _out(part[-1]) if last else -(-_out(part[-1]) // multiple) * multiple
        groups = math.gcd(*map(_groups, part))
        kernel = math.prod(math.prod(getattr(layer, "kernel_size", ())) for layer in part)
        weights = out * channels * kernel // groups
        read = math.prod(shape)
        for layer in part:
            shape = _map_after(layer, shape)
        positions = math.prod(shape) // shape[_channel_axis(part[-1], shape)]
        shape[_channel_axis(part[-1], shape)] = out
        macs += weights * positions
        moved += read + weights + math.prod(shape)
        channels = out
    return macs, moved


def factorized_layers(net: nn.Module) -> dict[str, Factorized]:
    """The factorized layers of a network by name, each once."""
    return {n: m for n, m in net.named_modules() if isinstance(m, Factorized)}


def _compositions(total: int) -> Iterator[tuple[int, ...]]:
    if total == 0:
        yield ()
    for first in range(1, total + 1):
        for rest in _compositions(total - first):
            yield (first, *rest)


def _parts(chain: Sequence[nn.Module], runs: Sequence[int]) -> Iterator[list[nn.Module]]:
    at = 0
    layers = list(chain)
    for run in runs:
        yield layers[at : at + run]
        at += run


def _in(layer: Any) -> int:
    return int(layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels)


def _out(layer: Any) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _groups(layer: Any) -> int:
    return int(getattr(layer, "groups", 1))


def _channel_axis(layer: nn.Module, shape: Sequence[int]) -> int:
    if isinstance(layer, nn.Linear):
        return len(shape) - 1
    return len(shape) - 1 - len(cast(Any, layer).kernel_size)


def _map_after(layer: Any, shape: Sequence[int]) -> list[int]:
    """The shape with the map as ``layer`` leaves it; channels are not looked at."""
    if isinstance(layer, nn.Linear):
        return list(shape)
    sizes = list(shape)
    dims = len(layer.kernel_size)
    for axis in range(dims):
        if not works_along(layer, axis) or layer.padding == "same":
            continue
        padding = 0 if isinstance(layer.padding, str) else layer.padding[axis]
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        at = len(sizes) - dims + axis
        sizes[at] = (sizes[at] + 2 * padding - reach - 1) // layer.stride[axis] + 1
    return sizes


def _widened(layer: Any, channels: int, out: int) -> nn.Module:
    """A layer without groups, with zeros for the channels that it had not."""
    if (channels, out) == (_in(layer), _out(layer)):
        return cast(nn.Module, layer)
    bias, weight = layer.bias, layer.weight
    options = {"bias": bias is not None, "device": "meta", "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        wide: Any = nn.Linear(channels, out, **options)
    else:
        names = ("kernel_size", "stride", "dilation", "padding", "padding_mode")
        geometry = {name: getattr(layer, name) for name in names}
        wide = type(layer)(channels, out, **geometry, **options)
    wide = wide.to_empty(device=weight.device)
    with torch.no_grad():
        wide.weight.zero_()[: weight.shape[0], : weight.shape[1]] = weight
        if bias is not None:
            wide.bias.zero_()[: len(bias)] = bias
    return cast(nn.Module, wide.requires_grad_(False).eval())
