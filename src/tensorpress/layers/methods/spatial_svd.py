"""Spatial SVD: D x 1, then 1 x D, both over channels (Jaderberg, Vedaldi and Zisserman, 2014)."""

from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.layers.kinds import Layer, dimensions, group_channels, kernel_size
from tensorpress.layers.layout import axis_name, channel_names, spatial_axes
from tensorpress.layers.methods.train import AxisTrain, Link


class SpatialSVD(AxisTrain):
    """SVD of the kernel unfolded to (C D1) x (D2 T); over three axes a train of three cores.

    Of a kernel with one axis over 1 the other convolution is 1x1.
    """

    base = "spatial-svd"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, VBMF, Ranks)

    def links(self, layer: Layer) -> tuple[Link, ...]:
        names, axes = channel_names(layer), self.ordered(spatial_axes(layer))
        sizes = kernel_size(layer)
        ends = [*group_channels(layer)]
        if len(axes) > 1:
            modes = [sizes[axis] for axis in axes]
            modes[0] *= ends[0]
            modes[-1] *= ends[1]
            return tuple(
                Link(axis_name(layer, axis), (axis,), mode)
                for axis, mode in zip(axes, modes, strict=True)
            )
        along: list[tuple[int, ...]] = [(), ()]
        if axes:
            end = int(dimensions(layer) > 1 and axes[0] == dimensions(layer) - 1)
            along[end] = axes
            ends[end] *= sizes[axes[0]]
        return tuple(
            Link(axis_name(layer, a[0]) if a else name, a, mode)
            for name, a, mode in zip(names, along, ends, strict=True)
        )

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:
        asked = max(1, dimensions(layer) - 1)
        fewer = max(1, len(spatial_axes(layer)) - 1)
        return (min(values),) if len(values) == asked and fewer < asked else values
