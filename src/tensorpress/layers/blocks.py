"""The same layers for every block of channels: how weights are shared without a new operation."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from tensorpress.layers.kinds import call_for_size


class Blocks(nn.Sequential):
    """Children that work alike on every block of channels, which lie in the batch meanwhile.

    Channels are numbered (group, block, channel in the block), or with ``minor`` (group, channel in
    the block, block); the children see (group, channel in the block). So the weights of a factor
    that meets many blocks are stored and counted once.

    Attributes:
        groups: of the layer that is replaced.
        count: blocks, per group.
        minor: see above.
        dims: axes of a map; 0 for linear layers, whose channels come last.
        bias: added to every channel that comes out, where the layer is the last one; or None.
    """

    bias: nn.Parameter | None

    def __init__(self, groups: int, count: int, *, minor: bool, dims: int) -> None:
        super().__init__()
        self.groups, self.count, self.minor, self.dims = groups, count, minor, dims
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        lead, space = x.shape[: x.dim() - 1 - self.dims], x.shape[x.dim() - self.dims :]
        block = 3 if self.minor else 2
        inside = x.shape[len(lead)] // (self.groups * self.count)
        parts = (inside, self.count) if self.minor else (self.count, inside)
        batch = math.prod(lead)
        x = x.reshape(batch, self.groups, *parts, *space).movedim(block, 1)
        x = x.reshape(batch * self.count, self.groups * inside, *space)
        x = call_in_a_row(self, x, output_size)
        space, outside = x.shape[2:], x.shape[1] // self.groups
        x = x.reshape(batch, self.count, self.groups, outside, *space).movedim(1, block)
        x = x.reshape(*lead, self.groups * outside * self.count, *space)
        if self.bias is None:
            return x
        return x + self.bias.reshape(-1, *[1] * self.dims)

    def extra_repr(self) -> str:
        return f"groups={self.groups}, count={self.count}, minor={self.minor}"

    def add_bias(self, like: Tensor) -> None:
        """Give it a bias for as many channels as ``like`` has, in its dtype."""
        self.bias = nn.Parameter(torch.empty_like(like, device="meta"))


def call_in_a_row(
    layers: Iterable[nn.Module], x: Tensor, output_size: Sequence[int] | None = None
) -> Tensor:
    """What plain layers and blocks of them give, one after the other.

    ``output_size`` is that of :func:`tensorpress.layers.kinds.call_for_size`.
    """
    for layer in layers:
        if isinstance(layer, Blocks):
            x = layer(x, output_size)
        else:
            x = call_for_size(layer, x, output_size)
    return x
