"""TTPWT: a train over the channels in, each axis, and the channels out (eq. 7-12 of the paper)."""

from tensorpress.decompose import RankRule
from tensorpress.layers.data_aware import DataAwareLayer
from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import axis_name, channel_names, spatial_axes
from tensorpress.layers.methods.decomposition import Factorization
from tensorpress.layers.methods.train import Link, TrainDecomposition
from tensorpress.layers.treatment import KERNEL, Fitter, Metric


class TTPWT(TrainDecomposition):
    """TT-SVD of the kernel shifted to (C, D1, ..., Dd, T), a train per group.

    1x1, then a convolution along each axis with a kernel over 1, then 1x1.
    """

    name = "ttpwt"
    data_aware = True

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        sizes = kernel_size(layer)
        along = [Link(axis_name(layer, a), (a,), sizes[a]) for a in spatial_axes(layer)]
        return Link(first, (), inside), *along, Link(last, (), outside)

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        """The bonds beside a unit mode join into one, whose rank is the smaller of theirs."""
        sizes = kernel_size(layer)
        if 1 not in sizes or len(values) != len(sizes) + 1:
            return values
        joined = [values[0]]
        for size, value in zip(sizes, values[1:], strict=True):
            if size == 1:
                joined[-1] = min(joined[-1], value)
            else:
                joined.append(value)
        return tuple(joined)

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        if metric.moments is None:
            return super().prepare(layer, metric)
        modes = [link.mode for link in self.links(layer)]
        prepared = DataAwareLayer(layer, metric.moments, modes, metric.target)

        def fit(rule: RankRule) -> Factorization:
            found = prepared.fit(self.suited(layer, rule), sweeps=metric.sweeps)
            return Factorization(self, *found)

        return fit
