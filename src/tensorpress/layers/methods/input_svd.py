"""Input SVD: 1x1 to fewer channels, then the layer's own convolution of these."""

import math

from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import channel_names, spatial_axes
from tensorpress.layers.methods.train import Link, TrainDecomposition


class InputSVD(TrainDecomposition):
    """SVD of the kernel unfolded to C x (D1 ... Dd T): the mirror of channel SVD."""

    name = "input-svd"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, VBMF, Ranks)

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        axes = spatial_axes(layer)
        mode = math.prod(kernel_size(layer)) * outside
        return Link(first, (), inside), Link("spatial" if axes else last, axes, mode)
