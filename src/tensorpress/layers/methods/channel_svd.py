"""Channel SVD: the layer's own convolution with fewer outputs, then 1x1 (Zhang et al., 2016)."""

from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.layers.kinds import Layer, group_channels, patch_size
from tensorpress.layers.layout import channel_names, spatial_axes
from tensorpress.layers.methods.train import Link, TrainDecomposition


class ChannelSVD(TrainDecomposition):
    """SVD of the kernel unfolded to (C D1 ... Dd) x T."""

    name = "channel-svd"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, VBMF, Ranks)

    def links(self, layer: Layer) -> tuple[Link, ...]:
        first, last = channel_names(layer)
        axes = spatial_axes(layer)
        return (
            Link("spatial" if axes else first, axes, patch_size(layer)),
            Link(last, (), group_channels(layer)[1]),
        )
