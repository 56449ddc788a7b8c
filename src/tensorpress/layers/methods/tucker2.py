"""Tucker-2: 1x1, a small dense convolution, 1x1 (Kim et al., 2016)."""

import math

from tensorpress.decompose import (
    HOOI,
    VBMF,
    Energy,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
)
from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import channel_names, spatial_axes
from tensorpress.layers.methods.decomposition import Factorization, target_kernels
from tensorpress.layers.methods.train import Link, TrainDecomposition
from tensorpress.layers.treatment import KERNEL, Fitter, Metric


class Tucker2(TrainDecomposition):
    """HOOI over the two channel modes: a train whose middle core is the small convolution.

    Without an axis to work along the middle core is a matrix, and goes into its neighbour: a 1x1
    convolution and a linear layer are split by SVD.
    """

    name = "tucker2"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, VBMF, Ranks)

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        axes, area = spatial_axes(layer), math.prod(kernel_size(layer))
        core = (Link("core", axes, area),) * bool(axes)
        return Link(first, (), inside), *core, Link(last, (), outside)

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        return (min(values),) if len(values) == 2 and not spatial_axes(layer) else values

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        if metric.moments is not None or not spatial_axes(layer):
            return super().prepare(layer, metric)
        given = target_kernels(layer, metric)
        hooi = HOOI([self.arranged(layer, kernel) for kernel in given])

        def fit(rule: RankRule) -> Factorization:
            trains = hooi.decompose(rule)
            ranks = trains[0].ranks
            clamped = isinstance(rule, Ranks) and rule.values != ranks
            return self.measured(
                layer, given, [train.cores for train in trains], ranks, clamped=clamped
            )

        return fit
