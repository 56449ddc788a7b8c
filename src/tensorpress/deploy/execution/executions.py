"""The ways to execute a chain of sublayers: how it is cut into runs, each merged into one."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn import functional as F

from tensorpress.layers import Factorized, can_merge, merge
from tensorpress.layers.kinds import (
    applications,
    channel_axis,
    filled_layer,
    groups_of,
    in_channels,
    is_plain,
    kernel_of,
    kernel_size,
    map_after,
    out_channels,
    settings_of,
)

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
    if not all(map(is_plain, chain)):
        return [Execution((1,) * len(chain))]
    found = []
    for runs in _compositions(len(chain)):
        if not all(can_merge(part) for part in _parts(chain, runs)):
            continue
        widths = [out_channels(part[-1]) for part in _parts(chain, runs)][:-1]
        plain = all(groups_of(layer) == 1 for layer in chain)
        for multiple in multiples:
            if multiple == 1 or (plain and any(width % multiple for width in widths)):
                found.append(Execution(runs, multiple))
    return sorted(found, key=lambda execution: (len(execution.runs), execution))


def realise(chain: Sequence[nn.Module], execution: Execution) -> list[nn.Module]:
    """The layers that a execution executes. Those that stay as they are are not copied."""
    layers = [merge(part) for part in _parts(chain, execution.runs)]
    if execution.multiple == 1:
        return layers
    widths = [
        -(-out_channels(layer) // execution.multiple) * execution.multiple for layer in layers
    ]
    widths[-1] = out_channels(layers[-1])
    before = [in_channels(layers[0]), *widths[:-1]]
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
    channels = in_channels(chain[0])
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        out = out_channels(part[-1]) if last else -(-out_channels(part[-1]) // multiple) * multiple
        groups = math.gcd(*map(groups_of, part))
        kernel = math.prod(math.prod(kernel_size(layer)) for layer in part)
        weights = out * channels * kernel // groups
        read, before = math.prod(shape), shape
        for layer in part:
            shape = map_after(layer, shape)
        macs += weights * applications(part[-1], before, shape)
        shape[channel_axis(part[-1], shape)] = out
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


def _widened(layer: Any, channels: int, out: int) -> nn.Module:
    """A layer without groups, with zeros for the channels that it had not."""
    more_in, more_out = channels - in_channels(layer), out - out_channels(layer)
    if more_in == more_out == 0:
        return layer  # type: ignore[no-any-return]
    kernel = kernel_of(layer).detach()
    wide = F.pad(kernel, (*[0] * (2 * len(kernel_size(layer))), 0, more_in, 0, more_out))
    bias = None if layer.bias is None else F.pad(layer.bias.detach(), (0, more_out))
    return filled_layer(layer, wide, bias, settings=settings_of(layer))  # type: ignore[no-any-return]
