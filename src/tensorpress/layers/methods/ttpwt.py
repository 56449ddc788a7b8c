"""TTPWT: a train over the channels in, each axis, and the channels out (eq. 7-12 of the paper)."""

from collections.abc import Callable

from torch import Tensor, nn

from tensorpress.decompose import RankRule
from tensorpress.layers.data_aware import DataAwareLayer
from tensorpress.layers.eligible import Layer
from tensorpress.layers.kernels import groups_of
from tensorpress.layers.layout import axis_name, channel_names, spatial_axes
from tensorpress.layers.methods.method import Factorization
from tensorpress.layers.methods.train import Link, TrainMethod


class TTPWT(TrainMethod):
    """TT-SVD of the kernel shifted to (C, D1, ..., Dd, T), a train per group.

    1x1, then a convolution along each axis with a kernel over 1, then 1x1.
    """

    name = "ttpwt"
    data_aware = True

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        sizes = layer.weight.shape
        along = [Link(axis_name(layer, a), (a,), sizes[2 + a]) for a in spatial_axes(layer)]
        return Link(first, (), sizes[1]), *along, Link(last, (), sizes[0] // groups_of(layer))

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        """The bonds beside a unit mode join into one, whose rank is the smaller of theirs."""
        if isinstance(layer, nn.Linear):
            return values
        sizes = layer.kernel_size
        if 1 not in sizes or len(values) != len(sizes) + 1:
            return values
        joined = [values[0]]
        for size, value in zip(sizes, values[1:], strict=True):
            if size == 1:
                joined[-1] = min(joined[-1], value)
            else:
                joined.append(value)
        return tuple(joined)

    def prepare_for(
        self, layer: Layer, moments: Tensor | None, kernels: Tensor | None = None
    ) -> Callable[[RankRule, int], Factorization]:
        if moments is None:
            return super().prepare_for(layer, moments, kernels)
        modes = [link.mode for link in self.links(layer)]
        prepared = DataAwareLayer(layer, moments, modes, kernels)

        def fit(rule: RankRule, sweeps: int) -> Factorization:
            found = prepared.fit(self.suited(layer, rule), sweeps=sweeps)
            return Factorization(self, *found)

        return fit
