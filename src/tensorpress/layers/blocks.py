"""The same layers for every block of channels: how weights are shared without a new operation."""

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

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        lead = list(x.shape)[: x.dim() - 1 - self.dims]
        x = self._into_batch(x)
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            for layer in self:
                x = layer(x)
        else:
            x = call_in_a_row(self, x, output_size)
        return self._out_of_batch(x, lead)

    # Lists are added below, not unpacked, because torch.jit scripts it.
    def _into_batch(self, x: Tensor) -> Tensor:
        channels = x.dim() - 1 - self.dims
        sizes = list(x.shape)
        space, batch = sizes[channels + 1 :], 1
        for size in sizes[:channels]:
            batch = batch * size
        inside = sizes[channels] // (self.groups * self.count)
        parts = [inside, self.count] if self.minor else [self.count, inside]
        x = x.reshape([batch, self.groups] + parts + space)  # noqa: RUF005
        x = x.movedim(3 if self.minor else 2, 1)
        return x.reshape([batch * self.count, self.groups * inside] + space)  # noqa: RUF005

    def _out_of_batch(self, x: Tensor, lead: list[int]) -> Tensor:
        sizes = list(x.shape)
        space, outside = sizes[2:], sizes[1] // self.groups
        x = x.reshape([sizes[0] // self.count, self.count, self.groups, outside] + space)  # noqa: RUF005
        x = x.movedim(1, 3 if self.minor else 2)
        x = x.reshape(lead + [self.groups * outside * self.count] + space)  # noqa: RUF005
        bias = self.bias
        if bias is None:
            return x
        return x + bias.reshape([-1] + [1] * self.dims)

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
