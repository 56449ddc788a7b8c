"""TT of the kernel that is not shifted (Remark 1 of the TTPWT paper)."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from tensorpress.decompose import RankRule, contract
from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import (
    Layout,
    Sublayer,
    axis_name,
    channel_names,
    in_blocks,
    spatial_axes,
)
from tensorpress.layers.methods.decomposition import Cores, folded
from tensorpress.layers.methods.train import Link, TrainDecomposition


class TT(TrainDecomposition):
    """TT-SVD of the kernel as it lies, (T, C, D1, ..., Dd).

    The core of the channels in has a bond on both sides, so it is no 1x1 convolution of the input.
    The train is contracted from its other end: every channel by itself goes through the same few
    filters along each axis, from the last one on, 1 -> Rd+1 -> ... -> R2; a 1x1 convolution then
    takes all C R2 maps to R1, and another one these to T.
    """

    name = "tt"
    data_aware = False

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        sizes = kernel_size(layer)
        along = [Link(axis_name(layer, a), (a,), sizes[a]) for a in spatial_axes(layer)]
        return Link(last, (), outside), Link(first, (), inside), *along

    def form(self, layer: Layer) -> Hashable:  # noqa: ARG002
        return self.name

    def arranged(self, layer: Layer, kernel: Tensor) -> Tensor:
        return kernel.movedim(-1, 0).reshape([link.mode for link in self.links(layer)])

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        """The bonds beside a unit mode join into one, the smaller; the bond after the last is 1."""
        sizes = kernel_size(layer)
        if 1 not in sizes or len(values) != len(sizes) + 1:
            return values
        joined = list(values[:2])
        for size, value in zip(sizes, [*values[2:], 0], strict=True):
            if size > 1:
                joined += [value] * (value > 0)
            elif value:
                joined[-1] = min(joined[-1], value)
            else:
                joined.pop()
        return tuple(joined)

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:
        self.suited(layer, rule).check_order(len(self.links(layer)))

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        last, first, *along = self.links(layer)
        self.check_number(ranks, len(along) + 1)
        unit = spatial_axes(layer, unit=True)
        if not along:
            return (
                Sublayer(first.name, first.mode, ranks[0], unit),
                Sublayer(last.name, ranks[0], last.mode),
            )
        filters: list[Sublayer] = []
        inside = 1
        for link, outside in zip(reversed(along), reversed(ranks[1:]), strict=True):
            axes = link.axes + (() if filters else unit)
            filters.append(Sublayer(link.name, inside, outside, axes))
            inside = outside
        return (
            *in_blocks("each_channel", first.mode, filters),
            Sublayer("channels", first.mode * inside, ranks[0]),
            Sublayer(last.name, ranks[0], last.mode),
        )

    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:  # noqa: ARG002
        last, first, *along = (torch.stack(core) for core in zip(*cores, strict=True))
        if not along:
            return [first.squeeze(3), last.squeeze(1)]
        filters = [core.permute(0, 1, 3, 2) for core in reversed(along)]
        return [*filters, first.flatten(2), last.squeeze(1)]

    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        kernel = contract(tuple(core.double() for core in cores))
        return folded(layer, kernel.movedim(0, -1))
