"""Channel SVD: the layer's own convolution with fewer outputs, then 1x1 (Zhang et al., 2016)."""

from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.layers.eligible import Layer
from tensorpress.layers.kernels import groups_of
from tensorpress.layers.layout import channel_names, spatial_axes
from tensorpress.layers.methods.train import Link, TrainMethod


class ChannelSVD(TrainMethod):
    """SVD of the kernel unfolded to (C D1 ... Dd) x T."""

    name = "channel-svd"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, VBMF, Ranks)

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        axes = spatial_axes(layer)
        inside, outside = layer.weight[0].numel(), layer.weight.shape[0] // groups_of(layer)
        return Link("spatial" if axes else first, axes, inside), Link(last, (), outside)
